"""TensorFlow's SAME padding, which adds the odd pixel at the end, and max-pooling with it."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Pads the last `len(kernel)` axes of x with zeros, so that each gives ceil(size / stride) windows."""
    sizes = x.shape[-len(kernel) :]
    missing = [
        max((-(-size // step) - 1) * step + width - size, 0)
        for size, width, step in zip(sizes, kernel, stride, strict=True)
    ]
    return F.pad(x, [zeros for total in reversed(missing) for zeros in (total // 2, total - total // 2)])


class SameMaxPool3d(nn.Module):
    """Max-pooling with zero padding, for x that is never negative."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """(S, C, F, H, W) to (S, C, F / stride, H / stride, W / stride), rounded up."""
        x = pad_same(x, self.kernel, self.stride)
        return _max_by_axis(x, self.kernel, self.stride) if x.is_cpu else F.max_pool3d(x, self.kernel, self.stride)


def _max_by_axis(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Equal to max_pool3d bit for bit, in at most a tenth of its time on a CPU (measured on I3D's pools)."""
    for axis, (width, step) in enumerate(zip(kernel, stride, strict=True), 2):
        last = (x.shape[axis] - width) // step * step
        shifted = [x.narrow(axis, start, last + 1) for start in range(width)]
        x = reduce(torch.maximum, [part[(slice(None),) * axis + (slice(None, None, step),)] for part in shifted])
    return x
