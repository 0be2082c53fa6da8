"""The settings file that `init` writes: YAML with the reason of each choice beside it."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actloc import console
from actloc.annotations.own_actions import OwnActions
from actloc.commands.init_choices import CLIP_FRAMES, SMALL_PICTURES, Choices, Seen

_MOST_CLASSES_SHOWN, _LINE = 20, 112


@dataclass(frozen=True)
class Told:
    """What was typed, and what the annotations are."""

    target: Path
    name: str
    """Of the run, and of the dataset's folder."""
    videos: Path
    source: Path
    listed: OwnActions
    settings: Mapping[str, Any]  # Any: JSON values
    """How the annotations are read, where it is not as usual."""


def text(told: Told, seen: Seen, chosen: Choices) -> str:
    """The whole file."""
    return "\n".join([_head(told, seen), _dataset(told, seen), _features(told, seen, chosen), _network(seen, chosen)])


def _head(told: Told, seen: Seen) -> str:
    typed = shlex.quote(str(told.target))
    counts = f"{_actions(seen)} of {console.count(len(seen.classes), 'class', 'classes')}"
    folder = console.clean(told.videos.resolve().name)
    return f"""\
# {folder}: {console.count(seen.num_videos, "video")}, {counts}; EfficientNet-Lite0 features, TemporalMaxer
#
# `actloc init` chose these settings for what it saw; change what you know better. `actloc show {typed}`
# explains every setting. Run:
#   actloc prepare          {typed}
#   actloc extract-features {typed}
#   actloc train            {typed} --check
#   actloc train            {typed}
#   actloc eval             {typed}
#   actloc report           ckpt/{told.name}
"""


def _dataset(told: Told, seen: Seen) -> str:
    stated = ", ".join(f"{subset} {count}" for subset, count in sorted(seen.subsets.items()))
    split = f"They state subsets: {stated}." if stated else "They state no subsets: `prepare` holds out one in five."
    most = seen.classes.most_common()
    shown = ", ".join(f"{label} {count}" for label, count in most[:_MOST_CLASSES_SHOWN])
    more = len(most) - _MOST_CLASSES_SHOWN
    few = [label for label, count in most if count < 10]
    comments = [
        f"The annotations are {told.listed.title} ({told.listed.form}). {split}",
        f"Actions of each class: {shown}{f' and {more} more classes' if more > 0 else ''}",
    ]
    if few:
        have = "has" if len(few) == 1 else "have"
        comments.append(f"Ten of each class are a start, tens are better; {console.first_ten(few)} {have} fewer.")
    reading = "".join(f"  {key}: {_value(value)}\n" for key, value in told.settings.items())
    return f"""\
dataset:
{"".join(map(_comment, comments))}\
  name: custom
  folder: {_value(f"data/{told.name}")}
  videos: {_value(str(told.videos))}
  annotations: {_value(str(told.source))}
{reading}"""


def _features(told: Told, seen: Seen, chosen: Choices) -> str:
    hours = chosen.encoding_hours(seen)
    takes = f"{hours:.1f} hours" if hours >= 1 else console.count(max(1, round(60 * hours)), "minute")
    cores = console.count(seen.cores, "core")
    machine = "a GPU, which is faster" if seen.has_gpu else "no GPU"
    small = ""
    if chosen.has_small_pictures:
        small = "    # Half the usual size, because at 224 pixels it would take more than 12 hours.\n"
        small += "".join(f"    {name}: {pixels}\n" for name, pixels in SMALL_PICTURES.items())
    short_s, long = seen.action_s(0.1), seen.longest_s / chosen.step_s
    return f"""\
features:
  # The encoder whose weights come with actloc; `actloc ls recipes` lists others, which are for a GPU. {cores} take
  # about {takes} for the {seen.total_s / 60:.1f} minutes of video; this machine has {machine}.
  name: stored
  encoder:
    name: efficientnet_lite0
{small}  path: {_value(f"data/{told.name}/efficientnet_lite0")}
  # One action in ten is shorter than {short_s:.2f} s, {short_s / chosen.step_s:.1f} steps of {chosen.step_s:.3g} s.
  fps: {chosen.fps:g}
  clip_frames: {CLIP_FRAMES}
  stride_frames: {CLIP_FRAMES}
  # Steps of a training window; the longest video has {seen.longest_s:.1f} s, {long:.0f} steps.
  max_steps: {chosen.max_steps}
  allow_missing: true  # videos that could not be read are listed and skipped; their actions count as missed
"""


def _network(seen: Seen, chosen: Choices) -> str:
    long_s, top = seen.action_s(0.99), chosen.ranges[-2][1]
    batches = console.count(seen.num_training, "training video")
    hours = chosen.max_steps * chosen.buffer_factor * chosen.step_s / 3600
    return f"""\
detector:
  name: temporalmaxer
  neck_norm: channel  # which depends on no other step: long videos are seen in windows
  # No more channels than {_actions(seen)} can teach: 64 up to 50 actions, 128 up to 500, 256 up to 2000, then 512.
  dim: {chosen.dim}
  # The longest actions have {long_s:.2f} s, {long_s / chosen.step_s:.0f} steps (all but one in a hundred). All levels
  # but the last reach {top} steps, {top * chosen.step_s:g} s, to each side of a step.
  num_branch_blocks: {chosen.num_levels - 1}
  regression_ranges: {json.dumps(chosen.ranges)}
  initial_normaliser: {chosen.initial_normaliser}  # about how many steps learn an action in a batch
  max_buffer_factor: {chosen.buffer_factor}  # videos of up to {hours:.1f} hours

optimizer:
  learning_rate: 1e-3
  weight_decay: 0.05

schedule:
  # {batches} in batches of 2; the demo learns in 250 steps after warm-up.
  epochs: {chosen.epochs}
  warmup_epochs: 5

training:
  batch_size: 2

evaluation:
  tious: [0.3, 0.4, 0.5, 0.6, 0.7]
"""


def _actions(seen: Seen) -> str:
    return console.count(len(seen.actions_s), "action")


def _value(value: Any) -> str:  # Any: a JSON value
    """The value as YAML reads it back: JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)


def _comment(words: str) -> str:
    """Lines of a comment in a section; labels may hold anything."""
    lines = [""]
    for word in console.clean(words).split():
        if len(lines[-1]) + len(word) > _LINE:
            lines.append("")
        lines[-1] += f" {word}"
    return "".join(f"  #{line}\n" for line in lines)
