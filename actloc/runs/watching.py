"""Detection in rows that arrive one by one, as of a camera: in the windows in which long videos are seen.

What is found in a window is final, but suppression needs to know what overlaps it. So an action is settled once the
windows are past everything that could overlap it, for which candidates have a longest length.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from actloc.detectors.base_network import PointDetector
from actloc.errors import UserError
from actloc.layers.precision import computing_in
from actloc.ops.points import joined, longer
from actloc.ops.settling import Candidates, Floats, Settling
from actloc.runs.localizer import Localizer
from actloc.runs.long_videos import Window, found_in_window, margin_of, padded_beyond, watched_steps, windows
from actloc.settings.detections import SuppressionSettings
from actloc.store.info import Features


class Settled(Protocol):
    """Takes what is settled."""

    def __call__(self, found: Candidates) -> None:
        """Takes segments in feature steps, with the scores that suppression leaves."""


@dataclass(frozen=True)
class Delays:
    """What an action waits for after its end, in feature steps."""

    window: int
    """Until the window that has it is full."""
    margin: int
    """What the detector sees after the window."""
    longest: float
    """Until no candidate of a later window can overlap it."""

    @property
    def most(self) -> float:
        """All of them, where no better candidate that overlaps the action waits longer."""
        return self.window + self.margin + self.longest


class WatchingDetector:
    """A detector on rows that arrive; it keeps the rows of one window, and the candidates that are not settled.

    `longest_steps` is the longest that a candidate may be. Without `limits_all` it is no limit to what ends before the
    first window is full, all of which is seen at once.
    """

    def __init__(
        self,
        localizer: Localizer,
        thresholds: Floats,
        longest_steps: float,
        window_steps: int | None = None,
        *,
        limits_all: bool = True,
    ) -> None:
        detector, suppression = localizer.detector, localizer.suppression
        margin = margin_of(detector) if isinstance(detector, PointDetector) else None
        if margin is None or not isinstance(detector, PointDetector):
            raise UserError(
                f"The detector {type(detector).__name__} of this run looks at the whole video at once.",
                "Expected one whose outputs depend on a stretch of known length, such as actionformer without global "
                "attention, or temporalmaxer: others cannot find anything before the video ends.",
                "Train one of these; `predict` finds actions in recordings with any detector.",
            )
        refuse_suppression(suppression)
        self._localizer, self._detector, self._margin = localizer, detector, margin
        unit = detector.config.strides[-1]
        kept = watched_steps(detector)
        assert kept is not None, "it has a margin"
        self._length = kept
        if window_steps is not None:
            self._length = min(self._length, max(math.ceil(window_steps / unit), 1) * unit)
        self._longest, self._limits_all = longest_steps, limits_all
        self._settling = Settling(
            "hard" if suppression.method == "hard" else "soft",
            by_class=suppression.multiclass,
            sigma=suppression.sigma,
            tiou=suppression.tiou,
            min_score=suppression.min_score,
            lowest=thresholds,
        )
        self._rows: list[Features] = []
        self._first_row = self._num_rows = self._kept = 0
        self.num_too_long = 0
        """Candidates that were dropped for their length, of scores that are high enough to be shown."""
        self.best_below: tuple[float, int] | None = None
        """Score and class of the best candidate that is too low to be shown."""
        self.cut_by: set[str] = set()
        """The limits that left out candidates of lower scores in some window."""

    @property
    def delays(self) -> Delays:
        """What an action waits for."""
        return Delays(self._length, self._margin, self._longest)

    @property
    def num_steps(self) -> int:
        """Rows so far."""
        return self._num_rows

    def add(self, rows: Features, settled: Settled) -> None:
        """Takes the next rows (n, C); calls `settled` where a window is full."""
        self._rows.append(rows)
        self._num_rows += len(rows)
        while self._num_rows >= self._kept + self._length + self._margin:
            end = self._kept + self._length
            seen = range(max(self._kept - self._margin, 0), end + self._margin)
            self._see(Window(seen, range(self._kept, end)), self._longest)
            settled(self._settling.settled(self._kept - self._longest))

    def end(self, settled: Settled) -> None:
        """Takes the end of the video: everything is settled then."""
        if self._num_rows:
            first, longest = self._kept, self._longest if self._kept or self._limits_all else math.inf
            padded_steps = padded_beyond(self._detector, self._num_rows)
            for window in windows(self._num_rows, padded_steps, self._length + 2 * self._margin, self._margin):
                if window.kept.start >= first:
                    self._see(window, longest)
        settled(self._settling.settled(math.inf))

    def _see(self, window: Window, longest: float) -> None:
        """Adds the candidates of a window up to a length; forgets the rows that later ones do not need."""
        localizer, detector = self._localizer, self._detector
        features, mask = self._load(window.seen)
        with torch.inference_mode(), computing_in(localizer.precision, localizer.device):
            most = detector.kept_per_level(len(window.seen))
            levels = found_in_window(detector, detector(features, mask), window, most)
        found = longer(joined(levels), detector.config.shortest_steps)
        candidates = Candidates(found.segments.numpy(), found.scores.double().numpy(), found.labels.numpy())
        fits = candidates.segments[:, 1] - candidates.segments[:, 0] <= longest
        self.num_too_long += int((~fits & self._settling.are_high(candidates)).sum())
        self.cut_by |= found.cut_by
        self._note_best_below(candidates.at(fits))
        self._settling.add(candidates.at(fits))
        self._kept = window.kept.stop
        self._forget(self._kept - self._margin)

    def _note_best_below(self, candidates: Candidates) -> None:
        low = candidates.at(~self._settling.are_high(candidates))
        if len(low):
            best = int(low.scores.argmax())
            found = float(low.scores[best]), int(low.labels[best])
            self.best_below = max(found, self.best_below or found)

    def _load(self, seen: range) -> tuple[Tensor, Tensor]:
        """Features (1, C, T) and mask (1, T); steps beyond the last row are padding."""
        rows = np.concatenate(self._rows)[seen.start - self._first_row : seen.stop - self._first_row]
        features = torch.zeros(1, rows.shape[1], len(seen))
        features[0, :, : len(rows)] = torch.from_numpy(rows.astype(np.float32)).T
        mask = (torch.arange(len(seen)) < len(rows))[None]
        device = self._localizer.device
        return features.to(device), mask.to(device)

    def _forget(self, first: int) -> None:
        if first > self._first_row and self._rows:
            self._rows = [np.concatenate(self._rows)[first - self._first_row :].copy()]
            self._first_row = min(first, self._num_rows)


def refuse_suppression(settings: SuppressionSettings) -> None:
    """Raises UserError for a kind of suppression whose result depends on what comes much later."""
    votes = not settings.multiclass and settings.voting_threshold > 0
    if settings.method in ("soft", "hard") and not votes:
        return
    what = f"suppression.method is {settings.method}" if not votes else "suppression.voting_threshold is not 0"
    raise UserError(
        f"{what}, which `watch` does not have.",
        "Expected method soft or hard, and no voting across classes.",
        "Set suppression.method=soft suppression.multiclass=true",
    )
