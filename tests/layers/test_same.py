import pytest
import torch
from torch.nn import functional as F

from actloc.layers.same import SameMaxPool3d, pad_same


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "after"),
    [(224, 7, 2, 2, 3), (225, 7, 2, 3, 3), (16, 7, 2, 2, 3), (112, 3, 2, 0, 1), (57, 3, 2, 1, 1), (8, 2, 2, 0, 0)],
)
def test_the_odd_pixel_is_added_at_the_end(size: int, kernel: int, stride: int, before: int, after: int) -> None:
    x = torch.ones(1, 1, size)
    assert torch.equal(pad_same(x, [kernel], [stride]), F.pad(x, (before, after)))


def test_each_axis_is_padded_by_its_own_kernel() -> None:
    x = torch.rand(2, 3, 4, 5, 6)
    assert torch.equal(pad_same(x, (1, 3, 2), (1, 2, 2)), F.pad(x, (0, 0, 1, 1)))
    assert torch.equal(pad_same(x, (3, 1, 7), (1, 1, 2)), F.pad(x, (2, 3, 0, 0, 1, 1)))


@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2)), ((3, 3, 3), (1, 1, 1))],
)
@pytest.mark.parametrize("size", [(4, 6, 8), (5, 7, 9), (1, 2, 3)])
def test_maxima_and_their_gradients_equal_torchs(
    kernel: tuple[int, int, int], stride: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = SameMaxPool3d(kernel, stride)(x)
    expected = F.max_pool3d(pad_same(x, kernel, stride), kernel, stride)
    assert torch.equal(found, expected)
    assert found.shape[2:] == tuple(-(-length // step) for length, step in zip(size, stride, strict=True))
    gradients = [torch.autograd.grad((result * result).sum(), x)[0] for result in (found, expected)]
    torch.testing.assert_close(*gradients)
