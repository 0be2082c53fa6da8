"""actloc finds when actions happen in untrimmed video."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actloc.runs.predictor import Predictor

__version__ = "0.1.0"


def load(run: str | Path, code: str | Path | Sequence[str | Path] = ()) -> "Predictor":
    """Loads a trained run to predict actions in new videos: `actloc.load("ckpt/my_run").predict("a.mp4")`.

    `code` names the files or folders of your own parts that the run was trained with, as `--code` does. Each
    action has `label`, `score`, `start_s` and `end_s`. Raises actloc.errors.UserError where the run cannot be used and
    actloc.errors.VideoError where a video cannot.
    """
    from actloc.runs.predictor import load_predictor

    return load_predictor(run, [Path(code)] if isinstance(code, str | Path) else [Path(path) for path in code])
