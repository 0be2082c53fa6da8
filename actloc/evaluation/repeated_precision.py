"""Average precision where predictions count several times: the sum of the precisions at the hits of one class."""

import numpy as np
from numpy.typing import NDArray

from actloc.evaluation.columns import Booleans, Floats, Integers

Times = NDArray[np.int32]
"""How often each video counts in each draw (videos, draws)."""


def precision_sums(
    is_hit: Booleans, scores: Floats, videos: Integers, times: Times, *, is_interpolated: bool
) -> Floats:
    """The sum of the precisions at the hits (tIoUs, draws) of N predictions of one class, best score first.

    `is_hit` is (tIoUs, N). A prediction counts as often as its video. Neighbours of one video with equal scores are a
    block: the copies of a video follow it, so the whole block is repeated, not each prediction in it by itself.
    """
    sums = np.zeros((len(is_hit), times.shape[1]))
    has_hit = is_hit.any(axis=0)
    if not has_hit.any():
        return sums
    is_new = np.append(True, (scores[1:] != scores[:-1]) | (videos[1:] != videos[:-1]))
    block_of, starts = np.cumsum(is_new) - 1, np.flatnonzero(is_new)
    sizes = np.diff(np.append(starts, len(scores)))
    with_hits = np.unique(block_of[has_hit])
    edges = np.union1d([0], starts[with_hits])
    counted = np.add.reduceat(times[videos], edges, axis=0, dtype=np.int64)
    all_before = np.cumsum(counted, axis=0) - counted
    for row, hits in enumerate(is_hit):
        places = np.flatnonzero(hits)
        if not len(places):
            continue
        blocks, own = block_of[places], times[videos[places]]
        firsts = np.searchsorted(blocks, blocks)
        hits_in_block = np.searchsorted(blocks, blocks, side="right") - firsts
        earlier_hits = (np.cumsum(own, axis=0) - own)[firsts]  # before the block, in each draw
        earlier = all_before[np.searchsorted(edges, starts[blocks])]
        # interpolated, a row of hits has the precision of its last one; otherwise each copy has its own
        is_plain = is_interpolated & (hits_in_block == sizes[blocks])
        hit, copy = _copies(np.flatnonzero(is_plain), np.flatnonzero(~is_plain), own, blocks)
        ours, last = own[hit], is_plain[hit, None]
        number = np.where(last, np.maximum(ours - 1, 0), copy[:, None])
        weights = np.where(last, ours, ours > copy[:, None])
        above = earlier_hits[hit] + number * hits_in_block[hit, None] + (hit - firsts[hit])[:, None] + 1
        rank = (places - starts[blocks])[hit]
        precisions = above / (earlier[hit] + number * sizes[blocks[hit], None] + rank[:, None] + 1)
        precisions[weights == 0] = 0.0
        if is_interpolated:
            precisions = np.maximum.accumulate(precisions[::-1])[::-1]
        sums[row] = (precisions * weights).sum(axis=0)
    return sums


def _copies(plain: Integers, others: Integers, own: Times, blocks: Integers) -> tuple[Integers, Integers]:
    """Numbers of hits and of their copies, in the order of the repeated predictions.

    `plain` hits, which need only their last copy, are there once.
    """
    most = int(own[others].max(initial=0))
    hits = np.concatenate((plain, np.repeat(others, most)))
    copies = np.concatenate((np.zeros_like(plain), np.tile(np.arange(most), len(others))))
    order = np.lexsort((hits, copies, blocks[hits]))
    return hits[order], copies[order]
