"""Data: data sets, the loader that makes batches of them, transforms of images, and the digits that come with the package."""

from minivgg.data import transforms
from minivgg.data.collate import default_collate
from minivgg.data.dataset import Dataset, Subset, TensorDataset
from minivgg.data.images import load_image
from minivgg.data.loader import DataLoader
from minivgg.data.optical_digits import digits

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset", "default_collate", "digits", "load_image", "transforms"]
