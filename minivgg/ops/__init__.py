"""The operations, one file a family. Importing this package completes Tensor with their methods."""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
