"""Checkpoints: safetensors and JSON in one folder, which is created by one rename and verified by checksums.

ckpt_000030/  weights.safetensors  averaged.safetensors  state.safetensors  state.json  manifest.json
The best and the two newest are kept: if the newest is damaged, the run resumes from the one before it. A signal adds
one, until the next of the schedule.
"""

from __future__ import annotations  # names for the type checker only: checkpoints are found without importing torch

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actloc import console, files
from actloc.damage import refused
from actloc.errors import UserError
from actloc.training.modules import DETECTOR

if TYPE_CHECKING:
    from torch import Tensor

_NAMES = ("weights", "averaged", "state")
_KEPT = 2
_FROZEN = "frozen.safetensors"
_NAME = re.compile(r"ckpt_[0-9]{6,18}")


@dataclass(frozen=True)
class Checkpoint:
    """Everything that later steps depend on, after `step` optimizer steps.

    Weights are named as in `training.modules`; those that do not learn are in the run's `frozen.safetensors`.
    `state` has the tensors of the optimizer and the random generators, `numbers` plain JSON values.
    """

    step: int
    weights: dict[str, Tensor]
    averaged: dict[str, Tensor]
    state: dict[str, Tensor]
    numbers: dict[str, Any]


def save(run_folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes the checkpoint's folder and returns it; an existing folder is not changed."""
    folder = folder_of(run_folder, checkpoint.step)
    if folder.exists():
        return folder
    temporary = files.temporary_path(folder)
    try:
        files.make_folder(temporary)
        for name in _NAMES:
            files.write_bytes(temporary / f"{name}.safetensors", _content(getattr(checkpoint, name)))
        files.write_json(temporary / "state.json", {"step": checkpoint.step, **checkpoint.numbers})
        names = [*(f"{name}.safetensors" for name in _NAMES), "state.json"]
        files.write_json(temporary / "manifest.json", {name: files.sha256_of_file(temporary / name) for name in names})
        files.replace(temporary, folder)
    finally:
        files.remove(temporary)
    return folder


def folder_of(run_folder: Path, step: int) -> Path:
    """The folder of the checkpoint after `step` steps."""
    return run_folder / f"ckpt_{step:06d}"


def _content(tensors: dict[str, Tensor]) -> bytes:
    """The tensors as a file, for which they have to be contiguous; a tensor with two names is copied."""
    import safetensors.torch  # here, because it imports torch

    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        separate[name] = own.clone() if own.data_ptr() in seen else own
        seen.add(own.data_ptr())
    return safetensors.torch.save(separate)


def load(folder: Path) -> Checkpoint:
    """Reads a checkpoint; raises UserError that names its damaged files, if any."""
    wrong = problems(folder)
    if wrong:
        raise UserError(
            f"{folder} is damaged: {'; '.join(wrong).rstrip('.')}.",
            "Expected the files and checksums of its manifest.json.",
            f"Restore it, or make it again from the one before: actloc train {folder.parent}"
            if len(steps(folder.parent)) > 1
            else f"Restore it from a copy, or train the run again: actloc train {folder.parent} --overwrite",
        )
    tensors = {name: _tensors(folder / f"{name}.safetensors") for name in _NAMES}
    for name in ("weights", "averaged"):  # runs that trained a detector alone did not name it
        tensors[name] = {key if "/" in key else f"{DETECTOR}/{key}": one for key, one in tensors[name].items()}
    numbers = files.read_json(folder / "state.json")
    if not isinstance(numbers, dict) or not isinstance(numbers.get("step"), int):
        raise _no_checkpoint(folder / "state.json", "it does not say after which step it is")
    return Checkpoint(step=numbers.pop("step"), numbers=numbers, **tensors)


def _tensors(path: Path) -> dict[str, Tensor]:
    import safetensors.torch  # here, because it imports torch

    with refused(path, lambda what: _no_checkpoint(path, what)):
        return safetensors.torch.load_file(path)


def _no_checkpoint(path: Path, what: str) -> UserError:
    """Of a file whose checksum is right, so that it was written so."""
    return UserError(
        f"{path} is not what actloc writes: {what}.",
        "Expected a checkpoint that `actloc train` or `actloc convert` wrote.",
        f"Use another checkpoint of {path.parent.parent}: {_listed(path.parent.parent)}.",
    )


def save_frozen(run_folder: Path, tensors: dict[str, Tensor]) -> str | None:
    """Stores the weights that do not learn, once for all checkpoints; returns their sha256, or None for no weights."""
    if not tensors:
        return None
    content = _content(tensors)
    files.write_bytes(run_folder / _FROZEN, content)
    return files.sha256_of_bytes(content)


def load_frozen(run_folder: Path, sha256: str | None) -> dict[str, Tensor]:
    """The weights that `save_frozen` stored; none without a sha256. Raises UserError if the file has changed."""
    path = run_folder / _FROZEN
    if sha256 is None:
        return {}
    if not path.is_file() or files.sha256_of_file(path) != sha256:
        raise UserError(
            f"{path} is {'changed' if path.is_file() else 'missing'}.",
            "Expected the run's weights that did not learn, as training wrote them.",
            f"Restore the file, or train the run again: actloc train {run_folder} --overwrite",
        )
    return _tensors(path)


def problems(folder: Path) -> list[str]:
    """What is missing or changed in a checkpoint; empty if it is intact."""
    try:
        manifest = files.read_json(folder / "manifest.json")
    except UserError as error:
        return [error.found]
    expected = {*(f"{name}.safetensors" for name in _NAMES), "state.json"}
    if not isinstance(manifest, dict) or manifest.keys() != expected:
        return [f"manifest.json does not list {', '.join(sorted(expected))}"]
    return [problem for name, digest in manifest.items() if (problem := _wrong_with(folder / name, digest))]


def _wrong_with(file: Path, sha256: object) -> str:
    """Empty for the file that has this digest; raises OSError for one that cannot be read, which may be intact."""
    try:
        return "" if files.sha256_of_file(file) == sha256 else f"{file.name} is changed"
    except (FileNotFoundError, IsADirectoryError):
        return f"{file.name} is missing"


def steps(run_folder: Path) -> list[Path]:
    """The run's checkpoint folders, oldest first."""
    return sorted((path for path in run_folder.glob("ckpt_*") if is_name(path.name)), key=step_of)


def is_name(name: str) -> bool:
    """Whether a checkpoint's folder may have this name."""
    return _NAME.fullmatch(name) is not None


def step_of(folder: Path) -> int:
    """The step in a checkpoint's name."""
    return int(folder.name.removeprefix("ckpt_"))


def newest_whole(run_folder: Path) -> Path | None:
    """The folder of the newest intact checkpoint, None if there is no checkpoint; deletes newer, damaged ones.

    Warns about each one that it deletes. If none is intact, it deletes nothing and raises UserError.
    """
    damaged: dict[Path, str] = {}
    for folder in reversed(steps(run_folder)):
        wrong = problems(folder)
        if wrong:
            damaged[folder] = "; ".join(wrong).rstrip(".")
            continue
        for other, what in damaged.items():
            console.warn(f"{other} is damaged ({what}); deleting it and using the one before it")
            _discard(other)
        return folder
    if damaged:
        listed = "\n  ".join(f"{folder}: {what}" for folder, what in damaged.items())
        raise UserError(
            f"Every checkpoint of {run_folder} is damaged:\n  {listed}",
            "Expected one to continue from.",
            "Restore one from a copy, or train from scratch with --overwrite.",
        )
    return None


def num_bytes(run_folder: Path) -> int:
    """Size of all checkpoints in bytes."""
    return sum(file.stat().st_size for folder in steps(run_folder) for file in folder.iterdir() if file.is_file())


def best(run_folder: Path) -> Path:
    """The checkpoint with the best validation score, or the last one."""
    link = run_folder / "best"
    return link.resolve() if link.exists() else last(run_folder)


def last(run_folder: Path) -> Path:
    """The newest checkpoint; raises UserError if there is none."""
    found = steps(run_folder)
    if not found:
        raise UserError(
            f"{run_folder} has no checkpoint.", "Expected a trained run.", "Run: actloc train CONFIG [SETTINGS]"
        )
    return found[-1]


def named(run_folder: Path, name: str) -> Path:
    """The checkpoint with this path, or this name in the run; otherwise raises UserError listing those that exist."""
    for path in (Path(name), run_folder / name):
        if (path / "manifest.json").is_file() and path.resolve().parent == run_folder.resolve():
            return path.resolve()
    raise UserError(
        f"{name} is not a checkpoint of {run_folder}.",
        f"Its checkpoints are: {_listed(run_folder)}.",
        "Name one of these, or leave out --resume to continue from the newest.",
    )


def _listed(run_folder: Path) -> str:
    return ", ".join(folder.name for folder in steps(run_folder)) or "none"


def mark_best(run_folder: Path, folder: Path) -> None:
    """Makes `best` a link to a checkpoint, by one rename."""
    temporary = files.temporary_path(run_folder / "best")
    temporary.symlink_to(folder.name)
    files.replace(temporary, run_folder / "best")


def prune(run_folder: Path) -> None:
    """Deletes all checkpoints but those to resume from and the best."""
    kept = {*_to_resume_from(run_folder), run_folder / best(run_folder).name}
    for folder in steps(run_folder):
        if folder not in kept:
            _discard(folder)


def _to_resume_from(run_folder: Path) -> list[Path]:
    """The two newest of those that the schedule asked for; and the newest, if a signal did.

    A run that was stopped thus ends with the checkpoints that it would have had otherwise.
    """
    every = steps(run_folder)
    scheduled = [folder for folder in every if not numbers(folder).get("is_extra")]
    kept = sorted({*scheduled[-_KEPT:], *every[-1:]}, key=step_of)
    return kept if len(kept) >= _KEPT else every[-_KEPT:]


def numbers(folder: Path) -> dict[str, Any]:  # Any: JSON values
    """The plain values of a checkpoint; none if they are damaged."""
    path = folder / "state.json"
    try:
        manifest, numbers = files.read_json(folder / "manifest.json"), files.read_json(path)
        is_whole = not _wrong_with(path, manifest.get(path.name) if isinstance(manifest, dict) else None)
    except UserError:
        return {}
    return numbers if is_whole and isinstance(numbers, dict) else {}


def newest_numbers(run_folder: Path) -> list[dict[str, Any]]:  # Any: JSON values
    """The plain values of the checkpoints from which a run is resumed, unless they are damaged."""
    return [found for folder in _to_resume_from(run_folder) if (found := numbers(folder))]


def forget_after(run_folder: Path, step: int) -> None:
    """Deletes the checkpoints after `step`, from which the run continues."""
    for folder in steps(run_folder):
        if step_of(folder) > step:
            _discard(folder)


def remove_all(run_folder: Path) -> None:
    """Deletes every checkpoint, the newest last, so that a kill never leaves an older one as the newest."""
    for folder in steps(run_folder):
        _discard(folder)


def _discard(folder: Path) -> None:
    """Renames the folder before deleting it, so that a kill never leaves half a checkpoint under its name."""
    aside = files.temporary_path(folder)
    folder.replace(aside)
    files.remove(aside)
