"""actloc finds when actions happen in untrimmed video."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actloc.prediction.video_predictor import VideoPredictor

__version__ = "0.1.0"


def load(
    run: str | Path, code: str | Path | Sequence[str | Path] = (), settings: Sequence[str] = ()
) -> "VideoPredictor":
    """Loads a trained run to predict new videos: `actloc.load("ckpt/my_run").predict("a.mp4")`.

    Of a detector, each prediction is an action with `label`, `score`, `start_s` and `end_s` in seconds; of a
    recogniser, a class of the video with `label` and `score`, its probability. `code` names the files or folders of
    your own parts that the run was trained with, as `--code` does; `settings` changes some, such as
    `["prediction.threshold=0.3"]`. Raises actloc.errors.UserError where the run cannot be used and
    actloc.errors.VideoError where a video cannot.
    """
    from actloc.tasks.base import load_predictor

    paths = [code] if isinstance(code, str | Path) else code
    return load_predictor(run, [Path(path) for path in paths], settings)
