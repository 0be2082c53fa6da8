"""A run's folder without its record, which makes it a run."""

from pathlib import Path

from actloc.errors import UserError

_RECORD = {
    "config.yaml": "write it again: actloc show CONFIG > {file}",
    "environment.json": "begin it again: echo '{{}}' > {file}",
}
"""The files of a run's record, each with what to do without a copy of it."""


def incomplete(folder: Path) -> UserError | None:
    """The error for a folder of checkpoints without a part of its record; None for other folders."""
    absent = [name for name in _RECORD if not (folder / name).is_file()]
    if not absent or not any(folder.glob("ckpt_*/")):
        return None
    cures = ", and ".join(_RECORD[name].format(file=folder / name) for name in absent)
    return UserError(
        f"{folder} has checkpoints, and no {' and no '.join(absent)}.",
        f"Expected {' and '.join(_RECORD)}, which `train` writes beside them.",
        f"Restore what is missing from a copy; without one, {cures}",
    )
