"""`actloc convert SOURCE TARGET [CONFIG]`: converts an official checkpoint to a run, or ActionFormer's back."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from actloc import console
from actloc.errors import UserError
from actloc.experiment import load
from actloc.runs import conversion
from actloc.settings import parts


def run(source: Path, target: Path, config: str | None, overrides: list[str] | None, code: Sequence[Path] = ()) -> int:
    """Converts a file to a run, and a folder (a run or a checkpoint) to a file."""
    parts.use_code(code)
    if source.is_dir():
        conversion.to_official(source, target, None if config is None else load(config, overrides))
        console.result(f"Wrote {target}")
        console.emit("done", path=str(target))
        return 0
    if config is None:
        raise UserError(
            f"{source} needs a CONFIG to become a run.",
            "Expected the settings it was trained with: the file has no description of its network and no class names.",
            f"Run: actloc convert {shlex.join([str(source), str(target)])} CONFIG; list the configs: actloc ls configs",
        )
    made = conversion.to_run(source, target, load(config, overrides))
    console.result(f"Wrote {made}")
    console.emit("done", path=str(target), checkpoint=str(made))
    console.say(f"Next: actloc eval {target}")
    return 0
