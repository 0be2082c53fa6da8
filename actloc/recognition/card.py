"""What the model card of a recogniser says: its accuracies, and how its predictions are used."""

from pathlib import Path

from actloc import console
from actloc.evaluation.results_files import METRICS_NAME, read_record
from actloc.recognition.reporting import overview, per_class
from actloc.recognition.results import RecognitionResults
from actloc.reports.model_card import Contents, Measured, Metric, in_percent, measured_on

_METRIC = "accuracy"


def contents(run: Path, checkpoint: Path) -> Contents:
    """Of a run, with what was measured of this checkpoint; raises UserError for damaged results."""
    folders = measured_on(run, checkpoint, METRICS_NAME)
    return Contents(
        title="Action recognition",
        does="names what a trimmed video shows",
        tags=["action-recognition", "video"],
        metrics=[_METRIC],
        loop=["found", "print(found.label, found.score)"],
        measured=[_measured(folder, read_record(folder / METRICS_NAME, RecognitionResults)) for folder in folders],
    )


def _measured(folder: Path, results: RecognitionResults) -> Measured:
    uncertainty = results.uncertainty
    rows = [
        ("top-1 accuracy", "top_1", results.top_1),
        ("top-5 accuracy", "top_5", results.top_5),
        ("mean class accuracy", "mean_class_accuracy", results.mean_class_accuracy),
    ]
    left_out, unreadable = results.counts.clips_left_out, results.counts.unreadable
    missing = f"{console.count(left_out, 'clip was', 'clips were')} left out of unreadable videos: "
    reason = "" if uncertainty is None else uncertainty.reason
    unmeasured = [f"There are no intervals: {reason}."] if reason else []
    return Measured(
        folder=folder,
        results=results,
        scored=console.count(results.counts.clips, "clip"),
        rules=f"views {results.views}, mean of {results.average}",
        metrics=[
            Metric(name, _METRIC, 100 * value, in_percent(getattr(uncertainty, key, None)))
            for name, key, value in rows
            if value is not None
        ],
        level=None if uncertainty is None else uncertainty.level,
        tables=[*([overview([results], with_cautions=False)] if results.published else []), per_class(results)],
        limits=[
            *results.cautions(),
            *unmeasured,
            *([f"{missing}{console.first_ten(unreadable)}."] if left_out else []),
        ],
    )
