"""The output of networks over frames or tokens as maps over time, height and width."""

from torch import Tensor


def maps_of_frames(output: Tensor, num_frames: int) -> Tensor:
    """Implements `as_maps` of a network over frames: maps (S, C, F, h, w) of (S * F, C, h, w)."""
    return output.reshape(-1, num_frames, *output.shape[1:]).transpose(1, 2)


def maps_of_tokens(output: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Implements `as_maps` of a network over a row of tokens: maps (S, C, t, h, w) of (S, t * h * w, C)."""
    return output.mT.reshape(len(output), -1, *grid)
