"""Non-maximum suppression: soft (Bodla et al., 2017; Gaussian decay), hard and weighted, and voting.

Numbers are float32, as officially, or float64 if segments and scores are. Scores only fall, so segments are picked in
falling order and the first `max_kept` picks are the whole result. Of equal scores hard suppression, which sorts, takes
the lowest index first; the soft one takes the order of the official loop.
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actloc.ops.local_contest import LocalContest
from actloc.ops.segments import iou

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

OVERLAP_EPSILON = np.float32(1e-6)  # the official overlap lengthens every segment by this much
VERY_MANY = 8000  # candidates of a class: those of hours of video, of which a pick overlaps few
MANY = 2000  # scores: to look for equal ones among more takes longer than to treat them as if there were some
FEW = 200  # candidates: of fewer, calling NumPy takes longer than the arithmetic, so it computes several picks at once
AHEAD = 24  # of few candidates, those that are likely to be picked soon, whose overlaps are computed at once
NOTHING = np.array(0, np.float32)


class _Contest:
    """The candidates of one class; `score` is the best that is left, -inf once none is, and `best` is its place.

    The first of equally good ones is picked. Where scores are equal from the start, candidates therefore change places
    as in the official loop: the best and the first one swap, and the last one fills the place of one that is dropped.
    Scores that become equal later do so by rounding, and their order means nothing.
    """

    def __init__(self, indices: Indices, segments: Floats, scores: Floats, sigma: float, min_score: float) -> None:
        self.indices, self.scores = indices, scores[indices]
        self.starts, self.ends = np.ascontiguousarray(segments[indices].T)
        self.lengths = self.ends - self.starts + OVERLAP_EPSILON
        self.divisor = np.array(-sigma, scores.dtype)
        self.min_score = scores.dtype.type(min_score)
        self.overlaps, self.spare = np.empty_like(self.scores), np.empty_like(self.scores)
        ordered = np.sort(self.scores) if len(indices) <= MANY else self.scores
        self.has_ties = len(indices) > MANY or bool((ordered[1:] == ordered[:-1]).any())
        # a factor of 0 would make nan of the -inf of those that were taken out after it was computed
        can_vanish = np.exp(1 / self.divisor) <= np.finfo(self.scores.dtype).tiny
        self.are_few = len(indices) <= FEW and not self.has_ties and not can_vanish
        self.factors: dict[int, Floats] = {}  # of few candidates, by place: what picking it multiplies the scores by
        self.num_picked = 0
        self.best = int(self.scores.argmax())
        self.score = self.scores[self.best]  # the first pick counts even below `min_score`

    def pick(self) -> None:
        """Take the best candidate out, lower the others by their overlap with it, and find the next best."""
        best = self.best
        if not self.are_few:
            # arrays without dimensions, as [best, ...] makes them: NumPy takes half as long over them as over numbers
            self.scores *= self._factors((best, ...), self.overlaps, self.spare)
        else:
            if best not in self.factors:
                self._look_ahead()
            self.scores *= self.factors[best]
        if self.has_ties:
            best = self._change_places()
        self.scores[best] = -np.inf
        self.starts[best] = np.inf  # what is taken out overlaps nothing, so its -inf is never multiplied by 0
        self.best = int(self.scores.argmax())
        self.score = self.scores[self.best]
        if self.score < self.min_score:
            self.score = self.scores.dtype.type(-np.inf)

    def _look_ahead(self) -> None:
        """Compute the factors of the best candidates of now."""
        others = max(len(self.scores) - AHEAD, 0)
        places = self.scores.argpartition(others)[others:]
        places[0] = self.best  # of equally good ones another may be there
        factors = self._factors((places[:, None],), *np.empty((2, len(places), len(self.scores)), self.scores.dtype))
        self.factors |= zip(places.tolist(), factors, strict=True)

    def _factors(self, place: Any, overlaps: Floats, spare: Floats) -> Floats:  # Any: an index, or several
        """What picking the candidate at `place` multiplies the scores by; computed in `overlaps` and `spare`."""
        np.minimum(self.ends, self.ends[place], out=overlaps)
        np.maximum(self.starts, self.starts[place], out=spare)
        overlaps -= spare
        np.maximum(overlaps, NOTHING, out=overlaps)
        np.add(self.lengths, self.lengths[place], out=spare)
        spare -= overlaps
        overlaps /= spare
        overlaps *= overlaps
        overlaps /= self.divisor
        return np.exp(overlaps, out=overlaps)

    def _change_places(self) -> int:
        """Swap the best candidate with the first, drop those that are too low, and return the new place of the best."""
        columns = (self.starts, self.ends, self.lengths, self.scores, self.indices)
        first = self.num_picked
        for column in columns:
            column[self.best] = column[first]
        self.num_picked += 1
        is_low = self.scores < self.min_score
        is_low[: self.num_picked] = False
        num_low = np.count_nonzero(is_low)
        if num_low:
            end = len(is_low) - num_low
            gaps, last = np.flatnonzero(is_low[:end]), end + np.flatnonzero(~is_low[end:])[::-1]
            for column in columns:
                column[gaps] = column[last]
            self.starts, self.ends, self.lengths = self.starts[:end], self.ends[:end], self.lengths[:end]
            self.scores, self.indices = self.scores[:end], self.indices[:end]
            self.overlaps, self.spare = self.overlaps[:end], self.spare[:end]
        return first


def soft_suppression(
    segments: Floats, scores: Floats, *, sigma: float, min_score: float, max_kept: int
) -> tuple[Indices, Floats]:
    """Indices (M,) of what is kept of `segments` (N, 2), best first, and their lowered scores (M,).

    A kept segment multiplies every other score by exp(-overlap^2 / sigma); what falls below `min_score` is dropped.
    """
    return _rounds([np.arange(len(scores))], segments, scores, sigma, min_score, max_kept)


def soft_suppression_per_class(
    segments: Floats, scores: Floats, labels: NDArray[np.integer], *, sigma: float, min_score: float, max_kept: int
) -> tuple[Indices, Floats]:
    """As `soft_suppression`, but only segments of the same label (N,) lower each other; the best of all are kept.

    Of equal scores in several classes the lowest class comes first.
    """
    return _rounds(_members(labels), segments, scores, sigma, min_score, max_kept)


def _members(labels: NDArray[np.integer]) -> list[Indices]:
    """The indices of every class, lowest class first, in rising order."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _rounds(
    classes: list[Indices], segments: Floats, scores: Floats, sigma: float, min_score: float, max_kept: int
) -> tuple[Indices, Floats]:
    """Pick the best of all classes again and again: a class whose best is never the best costs nothing more."""
    classes = [members for members in classes if len(members)]
    contests = [
        LocalContest(members, segments, scores, sigma, min_score, OVERLAP_EPSILON)
        if len(members) > VERY_MANY
        else _Contest(members, segments, scores, sigma, min_score)
        for members in classes
    ]
    best_scores = np.array([contest.score for contest in contests], dtype=scores.dtype)
    indices: list[np.int64] = []
    kept_scores: list[np.floating[Any]] = []
    for _ in range(min(max_kept, len(scores))):
        winner = int(best_scores.argmax())
        contest = contests[winner]
        if contest.score == -np.inf:
            break
        indices.append(contest.indices[contest.best])
        kept_scores.append(contest.score)
        contest.pick()
        best_scores[winner] = contest.score
    return np.array(indices, dtype=np.int64), np.array(kept_scores, dtype=scores.dtype)


def soft_suppression_by_length(
    parts: NDArray[np.float64], scores: NDArray[np.float64], *, sigma: float, tious: tuple[float, float], max_kept: int
) -> tuple[Indices, NDArray[np.float64]]:
    """BMN's form: a kept segment lowers only the scores of those that overlap it by more than a bound.

    The bound goes from the first of `tious` to the second with the length of the kept segment; `parts` (N, 2) are of
    the whole sequence. Returns indices (M,), best first, and lowered scores (M,). As in the official code the last
    segment that is left is never kept.
    """
    scores, is_left = scores.copy(), np.ones(len(scores), dtype=bool)
    starts, ends = parts.T
    kept: list[int] = []
    while len(kept) < min(max_kept, len(scores) - 1):
        best = int(np.where(is_left, scores, -np.inf).argmax())
        is_left[best] = False
        kept.append(best)
        shared = np.maximum(np.minimum(ends, ends[best]) - np.maximum(starts, starts[best]), 0)
        # in the official order: between segments of whole steps the overlap often equals the bound
        overlaps = shared / ((ends - starts) - shared + ends[best] - starts[best])
        is_lowered = is_left & (overlaps > tious[0] + (tious[1] - tious[0]) * (ends[best] - starts[best]))
        scores[is_lowered] *= np.exp(-np.square(overlaps[is_lowered]) / sigma)
    return np.array(kept, dtype=np.int64), scores[kept]


def hard_suppression(
    segments: Floats, scores: Floats, *, tiou: float, min_score: float, max_kept: int
) -> tuple[Indices, Floats]:
    """Indices (M,) of what is kept of `segments` (N, 2), best first, and their scores (M,).

    A kept segment drops every later one that overlaps it by `tiou` or more. A `min_score` above 0 first drops all
    scores that are not above it.
    """
    rest = np.argsort(-scores, kind="stable")
    if min_score > 0:
        rest = rest[scores[rest] > min_score]
    kept: list[np.int64] = []
    while len(rest) and len(kept) < max_kept:
        best, rest = rest[0], rest[1:]
        kept.append(best)
        rest = rest[~(_overlaps(segments[best], segments[rest]) >= tiou)]
    indices = np.array(kept, dtype=np.int64)
    return indices, scores[indices]


def hard_suppression_per_class(
    segments: Floats, scores: Floats, labels: NDArray[np.integer], *, tiou: float, min_score: float, max_kept: int
) -> tuple[Indices, Floats]:
    """As `hard_suppression`, but only segments of the same label (N,) drop each other; the best of all are kept.

    Of equal scores in several classes the lowest class comes first.
    """
    rule = {"tiou": tiou, "min_score": min_score}
    kept = [
        members[hard_suppression(segments[members], scores[members], **rule, max_kept=max_kept)[0]]
        for members in _members(labels)
    ]
    indices = np.concatenate(kept)
    indices = indices[np.argsort(-scores[indices], kind="stable")[:max_kept]]
    return indices, scores[indices]


def suppression_between_windows(
    segments: Floats,
    scores: Floats,
    labels: NDArray[np.integer] | None,
    windows: Sequence[tuple[float, float]],
    *,
    tiou: float,
    min_score: float,
    max_kept: int,
) -> tuple[Indices, Floats]:
    """As `hard_suppression`, once for each time that neighbouring `windows`, starts and ends, share; TadTR's rule.

    Only segments that reach into the shared time drop each other, of whatever window they are, and only those of the
    same label (N,) if there are labels. One that reaches into two such times can be kept twice.
    """
    starts, ends = segments.T
    shared = [(following[0], window[1]) for window, following in pairwise(windows) if following[0] < window[1]]
    reaching = [(starts < last) & (ends > first) for first, last in shared]
    is_alone = ~np.any(reaching, axis=0) if reaching else np.ones(len(scores), dtype=bool)
    kept = [np.flatnonzero(is_alone & (scores > min_score)) if min_score > 0 else np.flatnonzero(is_alone)]
    for rows in filter(len, map(np.flatnonzero, reaching)):
        of_rows = np.zeros(len(rows), dtype=np.int64) if labels is None else labels[rows]
        chosen, _ = hard_suppression_per_class(
            segments[rows], scores[rows], of_rows, tiou=tiou, min_score=min_score, max_kept=max_kept
        )
        kept.append(rows[chosen])
    indices = np.concatenate(kept)
    indices = indices[np.argsort(-scores[indices], kind="stable")[:max_kept]]
    return indices, scores[indices]


def _overlaps(segment: Floats, others: Floats) -> Floats:
    """The official overlap of one segment (2,) with others (N, 2)."""
    shared = np.maximum(np.minimum(others[:, 1], segment[1]) - np.maximum(others[:, 0], segment[0]), np.float32(0))
    lengths = others[:, 1] - others[:, 0] + OVERLAP_EPSILON
    overlaps: Floats = shared / (segment[1] - segment[0] + OVERLAP_EPSILON + lengths - shared)
    return overlaps


def weighted_suppression(
    segments: Floats, scores: Floats, *, tiou: float, min_score: float, max_kept: int
) -> tuple[Indices, Floats, Floats]:
    """Indices (M,) of what is kept of `segments` (N, 2), best first, the segments (M, 2) it becomes, and scores (M,).

    The best segment and the later ones that overlap it by `tiou` or more become one, at their mean; weights are score
    times overlap. Only scores above `min_score` take part. (Zhou et al., 2017, "CAD: Scale Invariant Framework for
    Real-Time Object Detection"; TALLFormer's form.)
    """
    members = np.arange(len(scores))
    return _kept_clusters([members], segments, scores, tiou, min_score, max_kept)


def weighted_suppression_per_class(
    segments: Floats, scores: Floats, labels: NDArray[np.integer], *, tiou: float, min_score: float, max_kept: int
) -> tuple[Indices, Floats, Floats]:
    """As `weighted_suppression`, but only segments of the same label (N,) become one; the best of all are kept.

    Of equal scores in several classes the lowest class comes first.
    """
    return _kept_clusters(_members(labels), segments, scores, tiou, min_score, max_kept)


def _kept_clusters(
    classes: list[Indices], segments: Floats, scores: Floats, tiou: float, min_score: float, max_kept: int
) -> tuple[Indices, Floats, Floats]:
    """The best clusters of all classes; those of a class are made only as far as they are kept."""
    above = [members[scores[members] > min_score] for members in classes]
    clusters = [_clusters(members, segments, scores, tiou) for members in above]
    best = list(islice(heapq.merge(*clusters, key=lambda cluster: -scores[cluster[0]]), max_kept))
    indices = np.array([index for index, _ in best], dtype=np.int64)
    means = np.array([mean for _, mean in best], dtype=segments.dtype).reshape(-1, 2)
    return indices, means, scores[indices]


def _clusters(members: Indices, segments: Floats, scores: Floats, tiou: float) -> Iterator[tuple[int, Floats]]:
    """The best member and the mean (2,) of every cluster among `members`, best first."""
    rest = members[np.argsort(-scores[members], kind="stable")]
    table = np.column_stack((segments[rest], scores[rest]))  # start, end, score
    while len(rest):
        overlaps = _overlaps(table[0, :2], table[:, :2])
        overlaps[0] = 1  # also without a length
        is_near = overlaps >= tiou
        near = table[is_near]
        weights = near[:, 2] * overlaps[is_near]
        yield int(rest[0]), weights @ near[:, :2] / weights.sum()
        rest, table = rest[~is_near], table[~is_near]


def vote(kept: Floats, segments: Floats, scores: Floats, threshold: float, *, by_overlap: bool = True) -> Floats:
    """Kept segments (M, 2), each replaced by the mean of all candidates (N, 2) whose IoU with it is >= `threshold`.

    Weights are score (N,) times IoU, or without `by_overlap` the score alone, as in TriDet's and DyFADet's code. A kept
    segment without length comes out as nan, as it does officially.
    """
    overlaps = iou(kept[:, None], segments[None])  # (M, N)
    votes = scores * overlaps if by_overlap else np.broadcast_to(scores, overlaps.shape)
    weights = torch.from_numpy(np.where(overlaps >= threshold, votes, np.float32(0)))
    weights /= weights.sum(dim=1, keepdim=True)
    # torch adds up in the official order; NumPy's product differs from it by some units in the last place
    means: Floats = (weights @ torch.from_numpy(segments)).numpy()
    return means
