"""Encoders' weights as their authors publish them: which file, from where, read without running code from it."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from actloc import console
from actloc.errors import UserError
from actloc.weights import files

FOLDER = Path("data/weights")
"""Where published files are looked for by their own names."""
MADE_UP = "made_up"
"""The entry that marks files by `scripts/made_up_weights`."""
_ENTRIES = ("model_state", "state_dict", "model", "module")  # PySlowFast, most others, TSP, DeepSpeed
_PREFIX = "module."


@dataclass(frozen=True)
class PublishedFile:
    """A file that nobody but its authors may hand out."""

    name: str
    """The file's own name."""
    where: str
    """Where its authors publish it, in words that find it."""
    size: str
    """About how large it is, such as `256 MB`."""


def locate(given: Path | None, published: PublishedFile, setting: str = "encoder.weights") -> Path:
    """The file that `setting` gave, or the published one in `data/weights`; raises UserError with how to get it."""
    return locate_all({setting: (given, published)})[setting]


def locate_all(wanted: Mapping[str, tuple[Path | None, PublishedFile]]) -> dict[str, Path]:
    """What `locate` finds for each setting; the error names all the files that are not there."""
    paths = {setting: given or FOLDER / published.name for setting, (given, published) in wanted.items()}
    lacking = {setting: path for setting, path in paths.items() if not path.is_file()}
    if not lacking:
        return paths
    files = [wanted[setting][1] for setting in lacking]
    listed = "; ".join(f"{file.name} ({file.size}), published at {file.where}" for file in files)
    raise UserError(
        f"The encoder's weights are not there: no file {', '.join(map(str, lacking.values()))}.",
        f"Expected {listed}.",
        f"Put {'it' if len(lacking) == 1 else 'them'} into {FOLDER}/, or name your own: "
        f"{' '.join(f'{setting}=FILE' for setting in lacking)} (each behind --set for `predict`)",
    )


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their names, without the prefix `module.`; raises UserError."""
    with torch.serialization.safe_globals([argparse.Namespace]):  # TSP's checkpoints hold their command line
        content = files.load(path)
    if isinstance(content, dict) and MADE_UP in content:
        console.warn(f"the weights in {path} are made up: features made with them mean nothing")
    for entry in _ENTRIES:
        if isinstance(content, dict) and isinstance(content.get(entry), dict):
            content = content[entry]
    if not isinstance(content, dict) or not any(isinstance(value, Tensor) for value in content.values()):
        raise UserError(
            f"{path} holds no weights.",
            f"Expected tensors by name, at the top or under one of {', '.join(_ENTRIES)}.",
            "Give the file that the encoder's authors publish.",
        )
    return {str(name).removeprefix(_PREFIX): value for name, value in content.items() if isinstance(value, Tensor)}
