"""Untrimmed videos spliced from a folder of short real clips: a data set small enough to ship.

Each clip shows one action, except background clips. Training videos use the first part of each clip and test videos
the last part, with a gap between, so that they share no frame. Scenes and people are the same in both.
"""

import math
import random
from dataclasses import dataclass
from pathlib import Path

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from actloc import console
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError, VideoError
from actloc.files import remove_leftovers, sha256_of_bytes
from actloc.settings.sections import Fraction, InputFolder
from actloc.video import ffmpeg
from actloc.video.ffmpeg import Piece
from actloc.video.reader import probe


class Config(DatasetConfig):
    """How many videos to splice, and from what."""

    clips: InputFolder
    """A folder of mp4 clips, each named after its action."""
    background_prefix: str = "background"
    """Clips whose names start with this show no action."""
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
    """Lowest speed at which a clip is played."""
    fastest: PositiveFloat = 1.25
    """Highest speed at which a clip is played."""
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
        clips = _clips(self.clips, self.background_prefix)
        plans = [
            _plan(self, clips, subset, number)
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
        classes = sorted(name for name in clips if not name.startswith(self.background_prefix))
        return Annotations(
            tuple(classes), {plan.video.id: plan.video for plan in sorted(plans, key=lambda plan: plan.video.id)}
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
    path: Path
    duration_s: float


@dataclass(frozen=True)
class _Plan:
    video: AnnotatedVideo
    file: Path
    pieces: list[Piece]


def _clips(folder: Path, background_prefix: str) -> dict[str, _Clip]:
    clips = {path.stem: _Clip(path, _duration_s(path)) for path in sorted(folder.glob("*.mp4"))}
    num_background = sum(name.startswith(background_prefix) for name in clips)
    if not 0 < num_background < len(clips):
        raise UserError(
            f"{folder} has {console.count(num_background, 'background clip')} and "
            f"{console.count(len(clips) - num_background, 'action clip')}.",
            f"Expected at least one of each as .mp4; names of background clips start with {background_prefix!r}.",
            "Set dataset.clips to the folder of the clips, or dataset.background_prefix.",
        )
    return clips


def _duration_s(path: Path) -> float:
    try:
        return probe(path).duration_s
    except VideoError as error:
        raise UserError(f"{path}: {error}", "Expected a readable clip.", "Replace or remove it.") from error


def _plan(config: Config, clips: dict[str, _Clip], subset: str, number: int) -> _Plan:
    """Draws the pieces of a video, and with them its actions; the draw depends on the seed and the video's number."""
    draw = random.Random(f"{config.seed} {subset} {number}")
    part = config.training_part if subset == config.training_subset else config.evaluation_part
    background = [name for name in clips if name.startswith(config.background_prefix)]
    classes = [name for name in clips if name not in background]
    # the loop ends before one more action and background could exceed the longest video
    enough = draw.uniform(config.shortest_s, config.longest_s - config.longest_addition_s) * config.fps
    pieces: list[Piece] = []
    actions: list[Action] = []
    frames = 0

    def add(name: str, shortest_s: float, longest_s: float) -> None:
        nonlocal frames
        piece, length = _piece(config, clips[name], part, draw, shortest_s, longest_s)
        if name in classes:
            actions.append(Action(frames / config.fps, (frames + length) / config.fps, name))
        pieces.append(piece)
        frames += length

    add(draw.choice(background), config.shortest_background_s, config.longest_background_s)
    while frames < enough:
        add(draw.choice(classes), config.shortest_action_s, config.longest_action_s)
        add(draw.choice(background), config.shortest_background_s, config.longest_background_s)
    video_id = f"{subset}_{number:03d}"
    # the name includes a hash of the plan, so that other settings never use an old video
    digest = sha256_of_bytes(repr((pieces, config.fps, config.width, config.height)).encode())[:8]
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
    speed = draw.uniform(config.slowest, config.fastest)
    most_s = min(longest_s, (end_s - start_s) / speed)
    frames = math.floor(draw.uniform(min(shortest_s, most_s), most_s) * config.fps)
    frames = max(frames, math.ceil(shortest_s * config.fps))
    taken_s = frames / config.fps * speed
    if taken_s > end_s - start_s:
        raise UserError(
            f"{clip.path} has {end_s - start_s:.2f} s for this subset; a piece needs {taken_s:.2f} s.",
            "Expected clips that are long enough for the shortest action and background.",
            "Use longer clips, or lower dataset.shortest_action_s and dataset.shortest_background_s.",
        )
    begin_s = draw.uniform(start_s, end_s - taken_s)
    return Piece(clip.path, round(begin_s, 6), round(taken_s, 6), round(speed, 6)), frames
