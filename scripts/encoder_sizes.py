"""Counts the encoders of shipped configs and of `actloc init`, and writes the file that `actloc show` reads sizes from.

Run it after an encoder or the encoder settings of a shipped config have changed:
  .venv/bin/python -m scripts.encoder_sizes
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actloc import files
from actloc.commands.init_choices import CLIP_FRAMES, SMALL_PICTURES
from actloc.commands.show_encoder import encoder_size
from actloc.encoders import base_sizes as sizes
from actloc.encoders import efficientnet_lite0, huggingface
from actloc.encoders.base import EncoderConfig
from actloc.experiment import load
from actloc.tasks.base import task_of


def shipped_encoders() -> Iterator[tuple[EncoderConfig, int]]:
    """Settings and frames of the encoder of each config that has one, and of those that `actloc init` may write."""
    for file in sorted(Path("configs").glob("**/*.yaml")):
        if "???" in file.read_text():
            continue  # settings of features that are read in place are left to the user; there is no encoder
        experiment = load(str(file))
        found = (task_of(experiment).encoder_in(section) for section in experiment.sections.values())
        # a model in a folder of the user's has whatever size that folder says
        yield from (one for one in found if one is not None and not isinstance(one[0], huggingface.Config))
    yield efficientnet_lite0.Config.model_validate({"name": "efficientnet_lite0", **SMALL_PICTURES}), CLIP_FRAMES


def counted() -> list[dict[str, Any]]:  # Any: JSON values
    """A row for each encoder whose size can be counted, each once."""
    rows: list[dict[str, Any]] = []
    for config, num_frames in shipped_encoders():
        settings = sizes.place(config, num_frames)
        if all(row["settings"] != settings for row in rows):
            size = encoder_size(config, num_frames)
            rows += [] if size is None else [{"settings": settings, "size": asdict(size)}]
    return rows


if __name__ == "__main__":
    files.write_json(sizes.FILE, counted())
