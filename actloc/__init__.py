"""actloc finds when actions happen in untrimmed video."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actloc.evaluation.results import Results
    from actloc.prediction.video_predictor import VideoPredictor
    from actloc.settings.choices import ProtocolName

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


def evaluate(
    truth: Any,
    predictions: Any,  # Any: of both: several forms, which are checked
    *,
    tious: Sequence[float] | None = None,
    protocol: "ProtocolName" = "actionformer",
    subset: str | None = None,
    recall_at: Sequence[int] = (),
    average_recall_at: Sequence[int] = (),
    reading: Mapping[str, Any] | None = None,  # Any: values of settings
) -> "Results":
    """Scores predictions as `actloc eval --predictions` does: `actloc.evaluate("labels.csv", found).average_map`.

    `truth` is a file or folder in any form that `prepare` reads, a dict as ActivityNet's JSON has it, or a dict of
    lists of `(label, start, end)` by video. `predictions` is a file that `eval` reads, a dict in ActivityNet's form
    (`{"results": ...}`), or a dict of lists of `(label, start, end, score)` by video; the dict of
    `actloc.load(RUN).predict([...])` is one. Times are in seconds. Videos are named by id, file name or path.

    `tious` are the temporal IoUs whose mean is the average mAP (None: 0.3 to 0.7), `protocol` a value of
    `evaluation.protocol`, `subset` the part of the truth to score (needed if there are several), `recall_at` the k of
    Recall@kx, `average_recall_at` the N of AR@N. `reading` has settings such as `{"annotations_fps": 25}` for files
    that need them.

    The result has `average_map`, `mean_ap` (by tIoU), `class_ap` (by class, by tIoU), from 0 to 1, `classes`,
    `thresholds`, `counts` and more. Raises actloc.errors.UserError for what cannot be scored. Does not import torch.
    """
    from actloc.evaluation.from_python import evaluate as scored

    return scored(
        truth,
        predictions,
        tious=tious,
        protocol=protocol,
        subset=subset,
        recall_at=recall_at,
        average_recall_at=average_recall_at,
        reading=reading or {},
    )
