"""Suppression of candidates that arrive in order of time: what is kept is known as soon as nothing can change it.

Suppression takes the best candidate, lowers or drops those that overlap it, and goes on with the best of the others. A
candidate is therefore settled once it is better than every other that overlaps it, of those that are there and of those
to come: whatever is worse only comes after it. So the result is that of `actloc.ops.suppression` on all candidates at
once, but for a limit on their number, and for the order of equal scores.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from actloc.ops.suppression import OVERLAP_EPSILON

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """Scored segments of one video."""

    segments: Floats
    """(N, 2), in feature steps of the video."""
    scores: Floats
    """(N,)."""
    labels: Indices
    """(N,) class numbers."""

    @classmethod
    def none(cls) -> "Candidates":
        """No segments."""
        return cls(np.zeros((0, 2)), np.zeros(0), np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, places: NDArray[np.intp] | NDArray[np.bool_]) -> "Candidates":
        """Those at these places, in their order."""
        return Candidates(self.segments[places], self.scores[places], self.labels[places])

    def followed_by(self, others: "Candidates") -> "Candidates":
        """These, then the others."""
        return Candidates(
            np.concatenate((self.segments, others.segments)),
            np.concatenate((self.scores, others.scores)),
            np.concatenate((self.labels, others.labels)),
        )


class Settling:
    """Candidates of a video that are not settled yet.

    `lowest` (K,) is the score below which a segment of each class is never shown: candidates that fall below it are
    dropped, because they lower only what is lower still. With `by_class` only candidates of a class lower each other;
    else all do, and the least of `lowest` counts.
    """

    def __init__(
        self,
        method: Literal["soft", "hard"],
        *,
        by_class: bool,
        sigma: float,
        tiou: float,
        min_score: float,
        lowest: Floats,
    ) -> None:
        self._is_soft, self._by_class = method == "soft", by_class
        self._sigma, self._tiou, self._min_score = sigma, tiou, min_score
        self._lowest = lowest if by_class else np.full_like(lowest, lowest.min(initial=math.inf))
        self._waiting = Candidates.none()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, found: Candidates) -> None:
        """Takes the candidates of later points."""
        self._waiting = self._high(self._waiting.followed_by(found))

    def settled(self, from_step: float) -> Candidates:
        """Removes and returns what is settled if every later candidate begins at `from_step` or after it.

        In the order of suppression within what overlaps; scores are those that suppression leaves.
        """
        picked = Candidates.none()
        while True:
            ready = self._ready(from_step)
            if not len(ready):
                return picked
            best = self._waiting.at(ready)
            rest = np.ones(len(self._waiting), dtype=bool)
            rest[ready] = False
            self._waiting = self._waiting.at(rest)
            self._lower(best)
            picked = picked.followed_by(best)

    def _ready(self, from_step: float) -> NDArray[np.intp]:
        """Places of the candidates that end before all later ones begin, and are the best of what they overlap.

        Of equal scores the first is the better one. No two of them overlap, so their order does not matter.
        """
        waiting = self._waiting
        chosen: list[int] = []
        order = np.argsort(-waiting.scores, kind="stable")
        starts, ends = waiting.segments[order].T
        labels = waiting.labels[order]
        for place in np.flatnonzero(ends <= from_step).tolist():
            overlaps = (starts[:place] < ends[place]) & (ends[:place] > starts[place])
            if self._by_class:
                overlaps &= labels[:place] == labels[place]
            if not overlaps.any():
                chosen.append(int(order[place]))
        return np.array(chosen, dtype=np.intp)

    def _lower(self, picked: Candidates) -> None:
        """Lowers or drops what overlaps these, which do not overlap each other."""
        waiting = self._waiting
        scores = waiting.scores.copy()
        starts, ends = waiting.segments.T
        for (start, end), label in zip(picked.segments.tolist(), picked.labels.tolist(), strict=True):
            shared = np.maximum(np.minimum(ends, end) - np.maximum(starts, start), 0)
            if self._is_soft:
                union = (ends - starts) + (end - start) + 2 * float(OVERLAP_EPSILON) - shared
                factor = np.exp(-((shared / union) ** 2) / self._sigma)
            else:
                union = np.maximum((ends - starts) + (end - start) - shared, np.finfo(np.float64).tiny)
                factor = (shared / union < self._tiou).astype(np.float64)
            scores *= np.where(waiting.labels == label, factor, 1.0) if self._by_class else factor
        self._waiting = self._high(Candidates(waiting.segments, scores, waiting.labels))

    def _high(self, candidates: Candidates) -> Candidates:
        """Those that may still be shown, or lower what may be."""
        high = self.are_high(candidates)
        return candidates if high.all() else candidates.at(high & (candidates.scores > 0))

    def are_high(self, candidates: Candidates) -> NDArray[np.bool_]:
        """(N,): whether the scores are high enough to be shown, or to lower one that is."""
        scores = candidates.scores
        high = scores >= self._lowest[candidates.labels]
        return high & (scores >= self._min_score if self._is_soft or self._min_score <= 0 else scores > self._min_score)
