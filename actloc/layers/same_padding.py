"""TensorFlow's SAME padding, whose odd pixel goes behind: networks learned with it expect it to the pixel."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Zeros around the last axes of x, as many as `kernel` has, so that each gives ceil(size / stride) windows."""
    sizes = x.shape[-len(kernel) :]
    missing = [
        max((-(-size // step) - 1) * step + width - size, 0)
        for size, width, step in zip(sizes, kernel, stride, strict=True)
    ]
    if not any(missing):
        return x
    return F.pad(x, [zeros for total in reversed(missing) for zeros in (total // 2, total - total // 2)])
