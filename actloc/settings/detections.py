"""The sections about what becomes of a detector's detections: which are kept, and which classes they get."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from actloc.settings.choices import FusionLabels, FusionRule, FusionUnit, ScoreForm
from actloc.settings.sections import Fraction, InputPath, Section


class SuppressionSettings(Section):
    """Non-maximum suppression of the detections of one video."""

    shapes = "results"

    method: Literal["soft", "hard", "between_windows", "weighted", "none"] = "soft"
    """soft: lower the score of what overlaps a better detection by a Gaussian; hard: drop it; weighted: drop it, and
    move the better one to the mean of both, weighted by score and overlap; between_windows: as hard, once for each time
    that two `features.window_steps` share, among what reaches into it (TadTR); none: keep all."""
    tiou: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Hard and weighted: overlap with a better detection from which one is dropped. Weighted is published with 0.5."""
    sigma: PositiveFloat = 0.5
    """Width of the Gaussian that lowers overlapping scores."""
    min_score: NonNegativeFloat = 0.001
    """Soft: drop detections whose lowered score falls below this; others: those that are not above it, if not 0."""
    max_kept: PositiveInt | None = None
    """Maximum number of detections to keep per video; null: 200 for each `features.max_steps` steps of it."""
    multiclass: bool = True
    """Suppress within each class; false: across classes, which voting needs."""
    voting_threshold: Fraction = 0.7
    """Soft and hard: overlap from which suppressed detections move the ends of a kept one; 0: no voting."""
    voting_weights: Literal["score_and_overlap", "score"] = "score_and_overlap"
    """How much each of them counts: its score times its overlap, or its score, as in TriDet's and DyFADet's code."""


class FusionSettings(Section):
    """Class scores that give detections their classes, fused with the detections' own scores."""

    shapes = "results"

    scores: Annotated[Literal["own", "truth"] | Path | None, InputPath("file")] = Field(
        default=None, validation_alias=AliasChoices("scores", "file")
    )
    """The class scores. own: the detector's, of detectors that score classes, such as afsd, bmn and etad; truth: 1 for
    the class of the video's first true action, which `eval` reports as an upper bound; FILE: another classifier's;
    null: detections keep the class that the detector gave them."""
    form: ScoreForm = "plain"
    """The format of FILE: CUHK's JSON (ActivityNet), UntrimmedNet's array (THUMOS14), TCANet's logits (HACS; softmax is
    taken twice, tcanet_once once), or plain: {"classes": [...], "results": {video: [scores]}, "windows": {video:
    [[start, end, [scores]], ...]}} as JSON, or as HDF5 (.h5, .hdf5); windows are optional."""
    per: FusionUnit = "video"
    """Which class scores of FILE a detection gets. video: those of its video; segment: the mean of the windows whose
    centre is inside the detection, else those of the nearest window. own scores are of whichever the detector gives."""
    rule: FusionRule = "sqrt"
    """The fused score: product of both, its square root, or none: the detection's own score and class."""
    labels: FusionLabels = "replace"
    """replace: each detection is given the top_k best classes; keep: it keeps its class, which the detector must know,
    and its score is fused with the score of this class."""
    top_k: PositiveInt = 2
    """Number of best classes that each detection is given."""
    most_detections: PositiveInt = 200
    """Maximum number of detections to keep per video, best first."""

    @model_validator(mode="after")
    def _has_windows(self) -> "FusionSettings":
        if self.per == "segment" and (scores := self.scores) in ("own", "truth"):
            raise ValueError(f"per: found segment, which needs fusion.scores=FILE; with {scores}, set fusion.per=video")
        return self
