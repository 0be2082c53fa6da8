"""The segments that ETAD scores (Liu et al., 2022, arXiv 2205.07134): all of whole steps, or a few of them.

A candidate is its start and its end, in steps of a sequence of T; the order is by length, then by start.
"""

import math

import torch
from torch import Tensor


def all_candidates(num_steps: int, longest: int) -> Tensor:
    """(N, 2) whole numbers: all candidates of at most `longest` steps; 8256 of 128 steps."""
    rows = [
        (start, start + length)
        for length in range(1, min(longest, num_steps) + 1)
        for start in range(num_steps + 1 - length)
    ]
    return torch.tensor(rows)


def random_rows(num_candidates: int, share: float, generator: torch.Generator) -> Tensor:
    """Rows (K,) of a `share` of the candidates, at least one, each at most once and in random order."""
    return torch.randperm(num_candidates, generator=generator)[: max(int(num_candidates * share), 1)]


def grid_rows(candidates: Tensor, share: float) -> Tensor:
    """Rows (K,) of about a `share` of the candidates, evenly spread over lengths and starts."""
    starts, ends = candidates.unbind(dim=1)
    num_steps = int(ends.max())
    numbers = torch.arange(1, max(num_steps, 2), math.sqrt(1 / share), dtype=torch.float64)
    pairs = torch.cartesian_prod(numbers, numbers)  # length - 1 and start
    pairs = pairs[pairs.sum(dim=1) < num_steps].long()  # officially tested before rounding down
    keys = (ends - starts - 1) * num_steps + starts
    rows = torch.isin(keys, pairs[:, 0] * num_steps + pairs[:, 1]).nonzero().flatten()
    return rows if len(rows) else torch.zeros(1, dtype=torch.long)


def block_rows(candidates: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Rows (K,) of a square of neighbouring starts and lengths at a random place, with about a `share` of all."""
    starts, ends = candidates.unbind(dim=1)
    lengths = ends - starts
    side = max(int(math.sqrt(share * len(candidates))), 1)
    side = min(side, int(lengths.max()), (int(ends.max()) + 1) // 2)
    # the square's longest and last candidate must be one too
    is_corner = (starts + lengths + 2 * (side - 1) <= ends.max()) & (lengths + side - 1 <= lengths.max())
    corners = is_corner.nonzero().flatten()
    corner = corners[torch.randint(len(corners), (1,), generator=generator)]
    first, shortest = starts[corner], lengths[corner]
    is_inside = (starts >= first) & (starts < first + side) & (lengths >= shortest) & (lengths < shortest + side)
    return is_inside.nonzero().flatten()
