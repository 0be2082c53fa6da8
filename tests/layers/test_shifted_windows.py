import pytest
import torch
from torch import Tensor

from actloc.layers.shifted_windows import Axes, Windows, window_offsets

LARGEST: Axes = (2, 3, 3)
OFFSETS = window_offsets(LARGEST)
GRIDS = [(4, 6, 6), (5, 7, 4), (2, 9, 3), (1, 2, 2), (3, 3, 5)]


def windows(grid: Axes, shift: Axes, clips: int = 1) -> Windows:
    return Windows.over(torch.Size((clips, *grid, 1)), LARGEST, shift, OFFSETS)


@pytest.mark.parametrize("shift", [(0, 0, 0), (1, 1, 1)])
@pytest.mark.parametrize("grid", GRIDS)
def test_windows_joined_are_the_grid_that_was_divided(grid: Axes, shift: Axes) -> None:
    x = torch.randn(2, *grid, 4)
    over = windows(grid, shift, clips=2)
    tokens = over.divided(x)
    assert tokens.shape[1:] == (over.tokens, 4)
    assert len(tokens) == 2 * sum(number for number, _ in over.masks)
    assert torch.equal(over.joined(tokens), x)
    assert tokens.abs().sum().item() == pytest.approx(x.abs().sum().item())  # the padding is zero


def test_windows_without_shift_are_blocks_of_the_grid() -> None:
    x = torch.randn(1, 4, 6, 6, 2)
    tokens = windows((4, 6, 6), (0, 0, 0)).divided(x)
    assert torch.equal(tokens[0], x[0, :2, :3, :3].flatten(0, 2))
    assert torch.equal(tokens[1], x[0, :2, :3, 3:].flatten(0, 2))


@pytest.mark.parametrize("grid", GRIDS)
def test_moved_windows_hide_tokens_from_each_other_that_are_not_within_a_window(grid: Axes) -> None:
    over = windows(grid, (1, 1, 1))
    padded = [one + pad for one, pad in zip(grid, over.padding, strict=True)]
    places = torch.stack(torch.unravel_index(over.places, tuple(padded)), 1).unflatten(
        0, (-1, over.tokens)
    )  # (W, N, 3)
    near = ((places[:, :, None] - places[:, None]).abs() < torch.tensor(LARGEST)).all(3)  # (W, N, N)
    for (mask_group, mask), group in zip(
        over.masks, torch.split(near, [number for number, _ in over.masks]), strict=True
    ):
        assert len(group) == mask_group
        expected = torch.zeros(over.tokens, over.tokens) if mask is None else mask
        assert torch.equal(torch.where(group, 0.0, -100.0), expected.expand(group.shape))


def test_an_axis_of_one_window_is_not_moved() -> None:
    still, moved = windows((2, 3, 3), (0, 0, 0)), windows((2, 3, 3), (1, 1, 1))
    assert torch.equal(still.places, moved.places)
    assert moved.masks == ((1, None),)


def test_offsets_number_every_difference_of_two_places() -> None:
    def offset(first: tuple[int, int, int], second: tuple[int, int, int]) -> int:
        time, height, width = (a - b + size - 1 for a, b, size in zip(first, second, LARGEST, strict=True))
        return (time * 5 + height) * 5 + width

    places = [(t, y, x) for t in range(2) for y in range(3) for x in range(3)]
    assert torch.equal(OFFSETS, Tensor([[offset(a, b) for b in places] for a in places]).long())


def test_windows_that_are_cut_in_space_use_the_first_offsets_of_the_full_window() -> None:
    """Published weights were trained with them, although they are those of other places."""
    in_space, in_time = windows((2, 2, 2), (0, 0, 0)), windows((1, 3, 3), (0, 0, 0))
    assert torch.equal(in_space.offsets, OFFSETS[:8, :8].flatten())
    assert not torch.equal(
        in_space.offsets, OFFSETS[[0, 1, 3, 4, 9, 10, 12, 13]][:, [0, 1, 3, 4, 9, 10, 12, 13]].flatten()
    )
    assert torch.equal(in_time.offsets, OFFSETS[:9, :9].flatten())
