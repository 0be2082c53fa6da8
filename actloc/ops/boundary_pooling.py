"""Boundary pooling (AFSD: Lin et al., 2021, arXiv 2103.13137): the maximum of features around each end of a segment."""

import torch
from torch import Tensor

INNER_PART, OUTER_PART = 4, 10  # a window reaches a 4th of the length into its segment, and a 10th out of it
SHORTEST_REACH = 1.0  # positions that it reaches at least, in both directions


def boundary_windows(starts: Tensor, ends: Tensor, lengths: Tensor) -> Tensor:
    """Windows (..., 4) around starts and ends (...): first and last position around the start, then around the end.

    They reach a quarter of `lengths` inwards and a tenth outwards, at least one position, and are rounded half to even.
    """
    inner = (lengths / INNER_PART).clamp(min=SHORTEST_REACH)
    outer = (lengths / OUTER_PART).clamp(min=SHORTEST_REACH)
    return torch.stack((starts - outer, starts + inner, ends - inner, ends + outer), dim=-1).round()


def boundary_pool(features: Tensor, windows: Tensor) -> Tensor:
    """(B, C, N) maxima of features (B, C, T) in windows (B, N, 4), both ends included.

    The first half of the channels is pooled in the window of the first two numbers, the second half in that of the last
    two. Numbers are truncated towards zero and clamped to the sequence; a window that ends before it starts gives the
    value where it starts. Only features get a gradient, at the first of equal maxima.
    """
    starts_half, ends_half = features.chunk(2, dim=1)
    bounds = windows.trunc().clamp(0, features.shape[2] - 1).long()
    places = [
        _places_of_maxima(half.detach(), *bounds[..., first : first + 2].unbind(-1))
        for half, first in ((starts_half, 0), (ends_half, 2))
    ]
    return features.gather(2, torch.cat(places, dim=1))


def _places_of_maxima(features: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """(B, C, N) positions of the maxima of features (B, C, T) from `first` to `last`, both (B, N).

    Level k of the tables has the maximum of the 2^k positions from each one on, and any window is covered by two
    entries of one level; so there are log2(T) steps, whatever the number of windows.
    """
    num_steps, spans = features.shape[2], (last - first).clamp(min=0) + 1
    values, places = [features], [torch.arange(num_steps, device=features.device).expand(features.shape)]
    width = 1
    while 2 * width <= num_steps:
        # the last entries, where 2^k positions would reach beyond the end, are never asked for
        nearer, farther = (values[-1], places[-1]), (values[-1].roll(-width, 2), places[-1].roll(-width, 2))
        is_higher = farther[0] > nearer[0]
        values.append(torch.where(is_higher, farther[0], nearer[0]))
        places.append(torch.where(is_higher, farther[1], nearer[1]))
        width *= 2
    levels = torch.frexp(spans.float()).exponent - 1  # the largest k with 2^k <= span
    offsets = levels * num_steps + first
    offset_pairs = torch.stack((offsets, offsets + spans - 2**levels), dim=1)  # (B, 2, N)
    index = offset_pairs[:, None].expand(-1, features.shape[1], -1, -1).flatten(2)
    left, right = torch.cat(values, dim=2).gather(2, index).chunk(2, dim=2)
    left_place, right_place = torch.cat(places, dim=2).gather(2, index).chunk(2, dim=2)
    return torch.where(right > left, right_place, left_place)
