"""Lays out the timeline of a video: the position of every bar, text and tick. The template only draws it.

Horizontal positions are percent of the video's length, so that one drawing fits a phone, a screen and paper; vertical
positions are lanes. Each class has one or more lanes of true actions and, right below, lanes of predictions.
"""

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from actloc.annotations import annotated_time
from actloc.evaluation.matching import Judged, Judgement, Thresholds, is_counted
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.results import Video
from actloc.reports.text import score, seconds

MOST_COUNTED = 20
"""Counted predictions drawn per video, or as many as it has true actions if that is more."""
MOST_BELOW = 8
"""Predictions drawn per video whose score is too low to count."""
NUM_COLOURS = 6
ROOM_STEPS_PX = (180, 240, 360, 480, 640, 800)
"""Widths of the plot at which the style sheet starts to show the text of a bar."""
_PX_PER_LETTER = 7.0  # width of the 11 px digits in a bar
_MOST_TICKS = 8
_MOST_WORDS = 12  # segments that a screen reader reads for a track; the table below has all
_FAINTEST = 0.25  # opacity of score 0: still visible

Kind = Literal["found", "partly", "missed", "right", "wrong", "below", "unjudged"]
"""partly: a true action that some of several runs found."""
_TRUTH, _PREDICTED = "truth", "predicted"


@dataclass(frozen=True)
class Claim:
    """A true action (score None) or a prediction, and its outcome."""

    side: str
    """truth, predicted, or the run whose prediction it is."""
    label: str
    start_s: float
    end_s: float
    score: float | None
    kind: Kind
    found_by: tuple[str, ...] = ()
    """The runs that found a true action, where there are several."""

    @property
    def outcome(self) -> str:
        """The outcome in words."""
        return f"found by {', '.join(self.found_by)} only" if self.kind == "partly" else self.kind


@dataclass(frozen=True)
class Bar:
    """The position of a claim in percent; `text` is shown at `text_left` if the plot is at least `room_px` wide."""

    claim: Claim
    lane: int
    left: float
    width: float
    opacity: float
    text: str
    text_left: float
    room_px: int | None
    """None: the text never fits."""


@dataclass(frozen=True)
class Track:
    """The bars of one class's true actions or predictions, and the same in words."""

    side: str
    bars: list[Bar]
    num_lanes: int
    words: str


@dataclass(frozen=True)
class ClassRow:
    """A class of a video: true actions above, predictions below."""

    label: str
    colour: int
    note: str
    tracks: list[Track]


@dataclass(frozen=True)
class Tick:
    """A mark on the time axis; the text of a minor one is hidden if the plot is narrow."""

    left: float
    text: str
    is_minor: bool


@dataclass(frozen=True)
class Shade:
    """A stretch of time that is not annotated; its position is in percent."""

    left: float
    width: float


@dataclass(frozen=True)
class Looks:
    """What all timelines of a page share: the colour number of each class, and the score drawn in full colour."""

    colours: Mapping[str, int]
    full_score: float


@dataclass(frozen=True)
class RunPart:
    """What one of several runs has in a timeline."""

    name: str
    judgement: Judgement
    num_counted: int
    num_counted_shown: int


@dataclass(frozen=True)
class Timeline:
    """Everything to draw for one video."""

    video: Video
    judgement: Judgement | None
    """None if the video has no ground truth, or if there are several runs."""
    num_counted: int
    num_counted_shown: int
    num_below: int
    num_below_shown: int
    rows: list[ClassRow]
    ticks: list[Tick]
    shades: list[Shade]
    claims: list[Claim]
    runs: tuple[RunPart, ...] = ()
    """The runs, where there are several."""


def looks_of(labels: Iterable[str], predictions: Predictions) -> Looks:
    """Colours for the labels in their order; the highest score gets full colour."""
    colours = {label: place % NUM_COLOURS for place, label in enumerate(dict.fromkeys(labels))}
    return Looks(colours, max((one.score for claimed in predictions.values() for one in claimed), default=1.0))


def judged_timeline(judged: Judged, looks: Looks) -> Timeline:
    """The timeline of a video with ground truth."""
    judgement = judged.judgement
    truth = [
        Claim(_TRUTH, action.label, action.start_s, action.end_s, None, "found" if found else "missed")
        for action, found in zip(judged.video.truth, judgement.found, strict=True)
    ]
    return _timeline(judged.video, truth, _claimed(judged, _PREDICTED), judgement, looks)


def compared_timeline(by_run: Mapping[str, Judged], looks: Mapping[str, Looks]) -> Timeline:
    """The timeline of a video in several runs: the true actions once, then a lane of predictions for each run.

    `looks` are those of each run, which share the colours of classes.
    """
    video = next(iter(by_run.values())).video
    truth = []
    for number, action in enumerate(video.truth):
        names = tuple(name for name, judged in by_run.items() if judged.judgement.found[number])
        kind: Kind = "found" if len(names) == len(by_run) else "partly" if names else "missed"
        truth.append(Claim(_TRUTH, action.label, action.start_s, action.end_s, None, kind, names))
    claimed = {name: _claimed(judged, name) for name, judged in by_run.items()}
    shown = {name: _choose(truth, claims) for name, claims in claimed.items()}
    every = [claim for claims in shown.values() for claim in claims]
    extent_s = _extent(video, truth, every)
    rows = []
    for label in dict.fromkeys(claim.label for claim in [*truth, *every]):
        true_here = [claim for claim in truth if claim.label == label]
        here = {name: [claim for claim in claims if claim.label == label] for name, claims in shown.items()}
        tracks = [_track(_TRUTH, true_here, extent_s, 1.0)]
        tracks += [_track(name, claims, extent_s, looks[name].full_score) for name, claims in here.items()]
        notes = [f"{name}: {_note_of_run(label, video, by_run[name], claims)}" for name, claims in here.items()]
        colours = next(iter(looks.values())).colours
        rows.append(ClassRow(label, colours.get(label, 0), "\n".join(notes), tracks))

    def num_counted(claims: list[Claim]) -> int:
        return sum(claim.kind != "below" for claim in claims)

    parts = tuple(
        RunPart(name, judged.judgement, num_counted(claimed[name]), num_counted(shown[name]))
        for name, judged in by_run.items()
    )
    in_time = sorted([*truth, *every], key=lambda claim: (claim.start_s, claim.end_s))
    return Timeline(video, None, 0, 0, 0, 0, rows, _ticks(extent_s), _shades(video, extent_s), in_time, parts)


def _note_of_run(label: str, video: Video, judged: Judged, shown: list[Claim]) -> str:
    found = [was for action, was in zip(video.truth, judged.judgement.found, strict=True) if action.label == label]
    wrong = sum(claim.kind == "wrong" for claim in shown)
    parts = [f"{sum(found)} of {len(found)} found"] if found else ["no true actions"]
    return ", ".join([*parts, f"{wrong} wrong"] if wrong else parts)


def _claimed(judged: Judged, side: str) -> list[Claim]:
    return [
        Claim(side, one.label, one.start_s, one.end_s, one.score, verdict)
        for one, verdict in zip(judged.predictions, judged.judgement.verdicts, strict=True)
    ]


def predicted_timeline(
    video: Video, predictions: Sequence[Prediction], thresholds: Thresholds | None, looks: Looks
) -> Timeline:
    """The timeline of a video without ground truth; without thresholds every prediction counts."""
    claimed = []
    for one in predictions:
        kind: Kind = "unjudged" if thresholds is None or is_counted(one, thresholds) else "below"
        claimed.append(Claim(_PREDICTED, one.label, one.start_s, one.end_s, one.score, kind))
    return _timeline(video, [], claimed, None, looks)


def _timeline(
    video: Video, truth: list[Claim], claimed: list[Claim], judgement: Judgement | None, looks: Looks
) -> Timeline:
    shown = _choose(truth, claimed)
    extent_s = _extent(video, truth, shown)
    in_order = sorted(shown, key=lambda claim: (claim.kind == "below", claim.start_s, claim.end_s))
    by_time = shown if judgement is not None else in_order
    labels = dict.fromkeys(claim.label for claim in [*truth, *by_time])
    rows = []
    for label in labels:
        true_here = [claim for claim in truth if claim.label == label]
        claimed_here = [claim for claim in shown if claim.label == label]
        tracks = [_track(_PREDICTED, claimed_here, extent_s, looks.full_score)]
        if judgement is not None:
            tracks.insert(0, _track(_TRUTH, true_here, extent_s, looks.full_score))
        rows.append(ClassRow(label, looks.colours.get(label, 0), _note(true_here, claimed_here, judgement), tracks))
    in_time = sorted([*truth, *shown], key=lambda claim: (claim.start_s, claim.end_s))
    num_below, num_below_shown = (sum(claim.kind == "below" for claim in claims) for claims in (claimed, shown))
    return Timeline(
        video=video,
        judgement=judgement,
        num_counted=len(claimed) - num_below,
        num_counted_shown=len(shown) - num_below_shown,
        num_below=num_below,
        num_below_shown=num_below_shown,
        rows=rows,
        ticks=_ticks(extent_s),
        shades=_shades(video, extent_s),
        claims=in_time,
    )


def _choose(truth: list[Claim], claimed: list[Claim]) -> list[Claim]:
    """The predictions to draw, best first: counted ones, then some others of the classes that are drawn anyway."""
    by_score = sorted(claimed, key=lambda claim: -(claim.score or 0.0))
    counted = [claim for claim in by_score if claim.kind != "below"]
    labels = {claim.label for claim in [*truth, *counted]} or {claim.label for claim in claimed}
    below = [claim for claim in by_score if claim.kind == "below" and claim.label in labels]
    return counted[: max(MOST_COUNTED, len(truth))] + below[:MOST_BELOW]


def _extent(video: Video, truth: list[Claim], shown: list[Claim]) -> float:
    """The seconds that the axis spans: true actions may end after the video (THUMOS14), predictions are cut off."""
    extent_s = max([video.duration_s, *(claim.end_s for claim in truth)])
    return extent_s if extent_s > 0 else max([claim.end_s for claim in shown if claim.end_s > 0], default=1.0)


def _shades(video: Video, extent_s: float) -> list[Shade]:
    """Where the video is not annotated."""
    gaps = annotated_time.gaps([(start, end) for start, end in video.annotated])
    ends = [[100 * min(max(time / extent_s, 0.0), 1.0) for time in gap] for gap in gaps]
    return [Shade(left, right - left) for left, right in ends if right > left]


def _note(truth: list[Claim], claimed: list[Claim], judgement: Judgement | None) -> str:
    if judgement is None:
        num_counted = sum(claim.kind == "unjudged" for claim in claimed)
        is_all = num_counted == len(claimed)
        return f"{num_counted} found" if is_all else f"{num_counted} of {len(claimed)} above the threshold"
    found = sum(claim.kind == "found" for claim in truth)
    wrong = sum(claim.kind == "wrong" for claim in claimed)
    parts = [f"{found} of {len(truth)} found"] if truth else ["no true actions"]
    return ", ".join([*parts, f"{wrong} wrong"] if wrong else parts)


def _track(side: str, claims: list[Claim], extent_s: float, full_score: float) -> Track:
    lanes = _lanes(claims)
    bars = [
        _bar(claim, number, next_start_s, extent_s, full_score)
        for number, lane in enumerate(lanes)
        for claim, next_start_s in zip(lane, [*(claim.start_s for claim in lane[1:]), extent_s], strict=True)
    ]
    return Track(side, bars, max(1, len(lanes)), _words(claims))


def _lanes(claims: list[Claim]) -> list[list[Claim]]:
    """Puts each claim into the first lane where it overlaps nothing, so that the first claims are on top."""
    lanes: list[list[Claim]] = []
    for claim in claims:
        for lane in lanes:
            place = bisect.bisect(lane, claim.start_s, key=lambda other: other.start_s)
            if (place == 0 or lane[place - 1].end_s <= claim.start_s) and (
                place == len(lane) or claim.end_s <= lane[place].start_s
            ):
                lane.insert(place, claim)
                break
        else:
            lanes.append([claim])
    return lanes


def _bar(claim: Claim, lane: int, next_start_s: float, extent_s: float, full_score: float) -> Bar:
    left, right, free = (100 * min(max(t / extent_s, 0.0), 1.0) for t in (claim.start_s, claim.end_s, next_start_s))
    text = "" if claim.score is None else score(claim.score)
    opacity = 1.0
    if claim.score is not None and full_score > 0:
        opacity = _FAINTEST + (1 - _FAINTEST) * min(max(claim.score / full_score, 0.0), 1.0)
    # the text is in the bar or in the gap after it, wherever there is more room
    text_left, room = (left, right - left) if right - left >= free - right else (right, free - right)
    return Bar(claim, lane, left, right - left, opacity, text, text_left, _room_px(text, room))


def _room_px(text: str, room: float) -> int | None:
    """The smallest step of the plot's width at which the text fits into `room` percent of it."""
    needed_px = _PX_PER_LETTER * (len(text) + 1)
    return next((step for step in ROOM_STEPS_PX if text and step * room / 100 >= needed_px), None)


def _words(claims: list[Claim]) -> str:
    parts = [
        f"{seconds(claim.start_s)} to {seconds(claim.end_s)} s"
        + ("" if claim.score is None else f" with score {score(claim.score)}")
        + ("" if claim.kind == "unjudged" else f", {claim.outcome}")
        for claim in claims[:_MOST_WORDS]
    ]
    rest = [f"{len(claims) - _MOST_WORDS} more"] if len(claims) > _MOST_WORDS else []
    return "; ".join([*parts, *rest]) or "none"


def _ticks(extent_s: float) -> list[Tick]:
    """At most eight steps, each of 1, 2 or 5 times a power of ten seconds."""
    power = 10.0 ** math.floor(math.log10(extent_s / _MOST_TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if extent_s / (power * factor) <= _MOST_TICKS)
    times = [number * step for number in range(int(extent_s / step) + 1)]
    return [
        Tick(100 * time_s / extent_s, f"{time_s:.6g}", is_minor=number % 2 == 1) for number, time_s in enumerate(times)
    ]
