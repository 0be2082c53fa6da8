"""Untrimmed videos spliced from a folder of short real clips: a data set small enough to ship.

Each clip shows one action, except background clips; played backward, at double speed or mirrored, it can show another.
Training videos use the first part of each clip and test videos the last part, with a gap
between, so that they share no frame. Scenes and people are the same in both.
"""

import math
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from actloc import console
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError, VideoError
from actloc.files import remove_leftovers, sha256_of_bytes
from actloc.settings.sections import Fraction, InputFolder
from actloc.video import ffmpeg
from actloc.video.ffmpeg import Piece
from actloc.video.reader import probe

Variant = Literal["forward", "backward", "fast", "fast_backward", "mirrored"]
"""A way to play a clip."""
_SPEEDS: dict[Variant, float] = {"forward": 1.0, "backward": -1.0, "fast": 2.0, "fast_backward": -2.0, "mirrored": 1.0}


class Config(DatasetConfig):
    """How many videos to splice, and from what."""

    clips: InputFolder
    """A folder of mp4 clips, each named after its action."""
    background_prefix: str = "background"
    """Clips whose names start with this show no action."""
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)] = ("forward",)
    """The ways to play the clip of an action, each an action of its own: forward, which is named as the clip, backward,
    fast (double speed), fast_backward, and mirrored (forward, to the other side), as in juggling_backward. Background
    is played forward."""
    num_training_videos: PositiveInt = 20
    """Number of training videos."""
    num_evaluation_videos: PositiveInt = 8
    """Number of evaluation videos."""
    shortest_s: PositiveFloat = 20.0
    """Shortest video."""
    longest_s: PositiveFloat = 40.0
    """Longest video."""
    shortest_action_s: PositiveFloat = 1.5
    """Shortest action."""
    longest_action_s: PositiveFloat = 5.0
    """Longest action; shorter if a clip's part is shorter."""
    shortest_background_s: PositiveFloat = 1.0
    """Shortest background before, between and after actions."""
    longest_background_s: PositiveFloat = 4.0
    """Longest background between two actions."""
    slowest: PositiveFloat = 0.8
    """Lowest speed at which a clip is played; fast ones are twice as fast."""
    fastest: PositiveFloat = 1.25
    """Highest speed at which a clip is played; fast ones are twice as fast."""
    training_part: tuple[Fraction, Fraction] = (0.0, 0.55)
    """The part of every clip that training videos use, as fractions of its duration."""
    evaluation_part: tuple[Fraction, Fraction] = (0.6, 1.0)
    """The part of every clip that evaluation videos use, as fractions of its duration."""
    fps: PositiveFloat = 25.0
    """Frames per second of the spliced videos."""
    width: PositiveInt = 320
    """Width of the spliced videos in pixels."""
    height: PositiveInt = 240
    """Height in pixels; clips with another aspect ratio get black bars."""
    seed: NonNegativeInt = 0
    """Seed of all random choices."""

    @model_validator(mode="after")
    def _parts_do_not_meet(self) -> "Config":
        if max(self.training_part[0], self.evaluation_part[0]) < min(self.training_part[1], self.evaluation_part[1]):
            raise ValueError("training_part and evaluation_part overlap; expected parts that share no frame")
        return self

    @model_validator(mode="after")
    def _variants_differ(self) -> "Config":
        if len(set(self.variants)) < len(self.variants):
            raise ValueError(f"variants: found {', '.join(self.variants)}, expected each at most once")
        return self

    @model_validator(mode="after")
    def _lengths_leave_room(self) -> "Config":
        if self.longest_s - self.shortest_s < self.longest_addition_s:
            raise ValueError(
                f"longest_s is less than shortest_s + {self.longest_addition_s:g}; expected room for "
                "longest_action_s + longest_background_s between them"
            )
        return self

    @property
    def longest_addition_s(self) -> float:
        """The most that one action and the background after it add to a video."""
        return self.longest_action_s + self.longest_background_s

    def collect(self) -> Annotations:
        """Splices the videos that do not exist yet; the same settings give the same videos."""
        background, actions = _clips(self)
        plans = [
            _plan(self, background, actions, subset, number)
            for subset, count in (
                (self.training_subset, self.num_training_videos),
                (self.evaluation_subset, self.num_evaluation_videos),
            )
            for number in range(count)
        ]
        remove_leftovers(self.folder / "videos")
        with console.progress("splicing videos", len(plans)) as bar:
            for plan in plans:
                if not plan.file.is_file():
                    ffmpeg.splice(plan.pieces, plan.file, fps=self.fps, width=self.width, height=self.height)
                bar(1, plan.video.id)
        return Annotations(
            tuple(sorted(action.label for action in actions)),
            {plan.video.id: plan.video for plan in sorted(plans, key=lambda plan: plan.video.id)},
        )

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Two videos of each subset from a folder of clips that the contract test fills."""
        return cls(
            folder=folder / "prepared",
            clips=folder / "clips",
            num_training_videos=2,
            num_evaluation_videos=2,
            shortest_s=5.0,
            longest_s=10.5,
            shortest_action_s=0.5,
            longest_action_s=1.0,
        )


@dataclass(frozen=True)
class _Clip:
    """A clip and the way to play it: at 1 or 2 times the drawn speed, backward if negative, or mirrored."""

    label: str
    path: Path
    duration_s: float
    speed: float
    is_mirrored: bool = False


@dataclass(frozen=True)
class _Plan:
    video: AnnotatedVideo
    file: Path
    pieces: list[Piece]


def _clips(config: Config) -> tuple[list[_Clip], list[_Clip]]:
    """The clips of the background, and those of actions in each variant, by label."""
    background, actions = [], []
    for path in sorted(config.clips.glob("*.mp4")):
        forward = _Clip(path.stem, path, _duration_s(path), _SPEEDS["forward"])
        if path.stem.startswith(config.background_prefix):
            background.append(forward)
            continue
        for variant in config.variants:
            label = path.stem if variant == "forward" else f"{path.stem}_{variant}"
            actions.append(replace(forward, label=label, speed=_SPEEDS[variant], is_mirrored=variant == "mirrored"))
    if not (background and actions):
        raise UserError(
            f"{config.clips} has {console.count(len(background), 'background clip')} and "
            f"{console.count(len(actions) // len(config.variants), 'action clip')}.",
            "Expected at least one of each as .mp4; names of background clips start with "
            f"{config.background_prefix!r}.",
            "Set dataset.clips to the folder of the clips, or dataset.background_prefix.",
        )
    labels = [action.label for action in actions]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UserError(
            f"{config.clips}: {', '.join(twice)} would name two actions: a clip, and a variant of another clip.",
            "Expected names of clips that do not end in a variant of dataset.variants.",
            "Rename the clip, or leave the variant out of dataset.variants.",
        )
    return background, actions


def _duration_s(path: Path) -> float:
    try:
        return probe(path).duration_s
    except VideoError as error:
        raise UserError(f"{path}: {error}", "Expected a readable clip.", "Replace or remove it.") from error


def _plan(config: Config, background: list[_Clip], classes: list[_Clip], subset: str, number: int) -> _Plan:
    """Draws the pieces of a video, and with them its actions; the draw depends on the seed and the video's number."""
    draw = random.Random(f"{config.seed} {subset} {number}")
    part = config.training_part if subset == config.training_subset else config.evaluation_part
    # the loop ends before one more action and background could exceed the longest video
    enough = draw.uniform(config.shortest_s, config.longest_s - config.longest_addition_s) * config.fps
    pieces: list[Piece] = []
    actions: list[Action] = []
    frames = 0

    def add(clip: _Clip, shortest_s: float, longest_s: float) -> None:
        nonlocal frames
        piece, length = _piece(config, clip, part, draw, shortest_s, longest_s)
        if clip in classes:
            actions.append(Action(frames / config.fps, (frames + length) / config.fps, clip.label))
        pieces.append(piece)
        frames += length

    add(draw.choice(background), config.shortest_background_s, config.longest_background_s)
    while frames < enough:
        add(draw.choice(classes), config.shortest_action_s, config.longest_action_s)
        add(draw.choice(background), config.shortest_background_s, config.longest_background_s)
    video_id = f"{subset}_{number:03d}"
    # the name includes a hash of the plan, so that other settings never use an old video
    mirrored = [number for number, piece in enumerate(pieces) if piece.is_mirrored]
    digest = sha256_of_bytes(repr(([*pieces, *mirrored], config.fps, config.width, config.height)).encode())[:8]
    file = config.folder / "videos" / f"{video_id}-{digest}.mp4"
    video = AnnotatedVideo(
        id=video_id,
        subset=subset,
        actions=tuple(actions),
        duration_s=frames / config.fps,
        fps=config.fps,
        frames=frames,
        file=file,
    )
    return _Plan(video, file, pieces)


def _piece(
    config: Config,
    clip: _Clip,
    part: tuple[float, float],
    draw: random.Random,
    shortest_s: float,
    longest_s: float,
) -> tuple[Piece, int]:
    """Draws a piece of the clip's part and its speed; also returns its length in frames of the spliced video."""
    start_s, end_s = part[0] * clip.duration_s, part[1] * clip.duration_s
    speed = abs(clip.speed) * draw.uniform(config.slowest, config.fastest)
    most_s = min(longest_s, (end_s - start_s) / speed)
    frames = math.floor(draw.uniform(min(shortest_s, most_s), most_s) * config.fps)
    frames = max(frames, math.ceil(shortest_s * config.fps))
    taken_s = frames / config.fps * speed
    if taken_s > end_s - start_s:
        raise UserError(
            f"{clip.path} has {end_s - start_s:.2f} s for this subset; a piece needs {taken_s:.2f} s.",
            "Expected clips that are long enough for the shortest action and background.",
            "Use longer clips, or lower dataset.fastest, shortest_action_s or shortest_background_s.",
        )
    begin_s = draw.uniform(start_s, end_s - taken_s)
    signed_speed = math.copysign(speed, clip.speed)
    return Piece(
        clip.path, round(begin_s, 6), round(taken_s, 6), round(signed_speed, 6), is_mirrored=clip.is_mirrored
    ), frames
