"""The operations under PyTorch's names."""

from minivgg.ops.adaptive_avg_pool2d import adaptive_avg_pool2d
from minivgg.ops.adaptive_max_pool2d import adaptive_max_pool2d
from minivgg.ops.avg_pool2d import avg_pool2d
from minivgg.ops.batch_norm import batch_norm
from minivgg.ops.conv2d import conv2d
from minivgg.ops.conv2d_relu import conv2d_relu
from minivgg.ops.cross_entropy import cross_entropy
from minivgg.ops.dropout import dropout
from minivgg.ops.linear import linear
from minivgg.ops.local_response_norm import local_response_norm
from minivgg.ops.max_pool2d import max_pool2d
from minivgg.ops.mse_loss import mse_loss
from minivgg.ops.nll_loss import nll_loss
from minivgg.ops.pad import pad
from minivgg.ops.relu import relu
from minivgg.ops.softmax import log_softmax, softmax
