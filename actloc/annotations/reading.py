"""The settings by which annotations are read, and the rate at which a tool counted frames."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import PositiveFloat, model_validator

from actloc import console
from actloc.annotations.model import AnnotatedVideo
from actloc.errors import UserError
from actloc.settings import parts
from actloc.settings.sections import InputPath, Section, ShippedPath

_SAME_RATE = 1e-3 * (1 - 1e-9)
"""Rates closer than this share of each other are the same, such as 29.97 and 30000 / 1001; 30 is not."""


KIND = "annotation_forms"
"""The kind of part that a form is."""


def form_named(text: str) -> str | None:
    """The form whose name or short name this is, also written with dashes; None if there is none."""
    meant, names = text.replace("-", "_"), parts.names(KIND)
    if meant in names:
        return meant
    return next((name for name in names if parts.find(KIND, name).Config.short_name == meant), None)


class ReadingSettings(Section):
    """What files of annotations do not say themselves."""

    shapes = "nothing"

    annotations_form: str | None = None
    """The form of `annotations`, of those that `actloc ls annotation_forms` lists; null: it is seen from the
    content."""
    annotations_fps: PositiveFloat | Literal["video"] | None = None
    """Frames per second at which the annotation tool counted, where the annotations count frames: Label Studio, CVAT,
    FiftyOne, MS-TCN, columns of frames. video: each video's own rate. A number must be the rate of the videos."""
    unit: Literal["seconds", "milliseconds", "frames"] | None = None
    """Tables: what start and end are; frames at both ends belong to the action. null: what the columns are named
    (start_frame, end_frame; start_ms, end_ms), else seconds."""
    first_frame: Literal[0, 1] | None = None
    """The number of a video's first frame; null: as the tool counts, and 0 in tables."""
    tiers: tuple[str, ...] = ()
    """The tiers (ELAN, Praat), attributes (VIA) or controls (Label Studio) to read; needed if there are several."""
    annotated: Annotated[ShippedPath | None, InputPath("file")] = None
    """A table `video,start,end` (seconds or H:MM:SS) of the time that is annotated, for videos of which only parts
    are: the rest is neither learned nor scored. null: all of each video, but where the annotations say so themselves
    (column `annotated` of tables, key `annotated` of JSON)."""
    point_seconds: PositiveFloat | None = None
    """Makes each point event an action of this length, half before and half after it; null: they are left out."""

    @model_validator(mode="after")
    def _form_is_known(self) -> "ReadingSettings":
        known = parts.names(
            KIND
        )  # forms of --code are imported here: they are in use, whether a setting names one or not
        if self.annotations_form is not None and form_named(self.annotations_form) is None:
            near = console.nearest(self.annotations_form.replace("-", "_"), known, lists_known=False)
            listed = ", ".join(known)
            raise ValueError(f"annotations_form: found {self.annotations_form!r}, expected one of {listed}{near}")
        return self

    @model_validator(mode="after")
    def _frames_have_a_rate(self) -> "ReadingSettings":
        if self.unit == "frames" and self.annotations_fps is None:
            raise ValueError("unit: frames needs annotations_fps, the frames per second, such as annotations_fps=25")
        return self


def _unknown(name: str) -> AnnotatedVideo | None:
    return None


@dataclass(frozen=True)
class Reading:
    """The settings, and what is known of the videos."""

    settings: ReadingSettings = field(default_factory=ReadingSettings)
    prefix: str = "dataset."
    """What names of settings begin with in messages."""
    facts: Callable[[str], AnnotatedVideo | None] = _unknown
    """Duration and rate of the video that a name means; None if it is not at hand."""

    def seconds(self, video: str, first: float, last: float, counts_from: int) -> tuple[float, float]:
        """Start and end in seconds of the frames `first` to `last`, both of which belong to the segment.

        A tool counts frames from `counts_from`, unless the settings say otherwise. Raises UserError without a rate, or
        with another one than the video's own.
        """
        fps = self.rate(video)
        stated = self.settings.first_frame
        origin = counts_from if stated is None else stated
        return (first - origin) / fps, (last - origin + 1) / fps

    def rate(self, video: str) -> float:
        """Frames per second at which frames of this video were counted; raises UserError as `seconds` does."""
        stated = self.settings.annotations_fps
        facts = self.facts(video)
        own = facts.fps if facts else None
        setting = f"{self.prefix}annotations_fps"
        if stated is None:
            known = f"{facts.file or video} has {own:g} frames per second; if" if facts and own else "If"
            raise UserError(
                f"The annotations of {video} count frames, and {setting} is not set.",
                f"Expected the frames per second at which the tool counted. {known} the tool counted frames of the "
                f"video itself, {setting}=video takes each video's own rate.",
                f"Set {setting}={own:g}" if own else f"Set it, such as {setting}=25",
            )
        if stated == "video":
            if own is None:
                raise UserError(
                    f"{setting} is video, and the rate of {video} is not known.",
                    "Expected a video that can be read.",
                    f"Set the frames per second at which the tool counted, such as {setting}=25",
                )
            return own
        if own is not None and abs(stated - own) > _SAME_RATE * own:
            raise UserError(
                f"{setting} is {stated:g}, and {facts.file if facts else video} has {own:g} frames per second.",
                "Expected the same rate: if the tool counted frames at another rate, its times may not be right.",
                f"Set {setting}={own:g} if the tool counted the frames of the video, and check a few actions.",
            )
        return stated
