"""Encoders' weights as their authors publish them: finds the files, and reads them without running code from them."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actloc import console
from actloc.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = Path("data/weights")
"""The folder where published files are expected under their own names."""
MADE_UP = "made_up"
"""The entry that marks files written by `scripts/made_up_weights`."""
_ENTRIES = ("model_state", "state_dict", "model", "module")  # PySlowFast, most others, TSP, DeepSpeed
_PREFIX = "module."


@dataclass(frozen=True)
class PublishedFile:
    """A file that only its authors may distribute."""

    name: str
    """The name of the file."""
    where: str
    """Where its authors publish it, in words that a search finds."""
    size: str
    """Its approximate size, such as `256 MB`."""


def locate(given: Path | None, published: PublishedFile, setting: str = "features.encoder.weights") -> Path:
    """The file that `setting` gave, or the published one in `data/weights`; raises UserError with how to get it."""
    return locate_all({setting: (given, published)})[setting]


def locate_all(wanted: Mapping[str, tuple[Path | None, PublishedFile]]) -> dict[str, Path]:
    """The file for each setting, as in `locate`; the error names all missing files."""
    paths = {setting: given or FOLDER / published.name for setting, (given, published) in wanted.items()}
    missing = {setting: path for setting, path in paths.items() if not path.is_file()}
    if not missing:
        return paths
    files = [wanted[setting][1] for setting in missing]
    listed = "; ".join(f"{file.name} ({file.size}), published at {file.where}" for file in files)
    it, its_path = ("it", "its path") if len(missing) == 1 else ("them", "their paths")
    settings = [f"{setting}=FILE" for setting in missing]
    raise UserError(
        f"The encoder's weights are missing: no file {', '.join(map(str, missing.values()))}.",
        f"Expected {listed}.",
        f"Put {it} into {FOLDER}/, or set {its_path}: {' '.join(settings)} "
        f"(with predict: --set {' --set '.join(settings)})",
    )


def read(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a checkpoint by name, without the prefix `module.`; raises UserError."""
    import torch
    from torch import Tensor

    from actloc.weights import files

    with torch.serialization.safe_globals([argparse.Namespace]):  # TSP's checkpoints contain their command line
        content = files.load(path)
    if isinstance(content, dict) and MADE_UP in content:
        console.warn(f"the weights in {path} are made up: features made with them mean nothing")
    for entry in _ENTRIES:
        if isinstance(content, dict) and isinstance(content.get(entry), dict):
            content = content[entry]
    if not isinstance(content, dict) or not any(isinstance(value, Tensor) for value in content.values()):
        raise UserError(
            f"{path} contains no weights.",
            f"Expected tensors by name, at the top or under one of {', '.join(_ENTRIES)}.",
            "Use the file that the encoder's authors publish.",
        )
    return {str(name).removeprefix(_PREFIX): value for name, value in content.items() if isinstance(value, Tensor)}
