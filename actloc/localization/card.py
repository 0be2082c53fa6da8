"""What the model card of a detector says: its average precision, and how its predictions are used."""

from pathlib import Path

from actloc import console
from actloc.evaluation.results import Results
from actloc.evaluation.results_files import METRICS_NAME, read_results
from actloc.reports import published
from actloc.reports.model_card import Contents, Measured, Metric, in_percent, measured_on
from actloc.reports.tables import class_table, is_upper_bound
from actloc.reports.text import threshold

_METRIC = "mean_average_precision"


def contents(run: Path, checkpoint: Path) -> Contents:
    """Of a run, with what was measured of this checkpoint; raises UserError for damaged results."""
    found = [(folder, read_results(folder)) for folder in measured_on(run, checkpoint, METRICS_NAME)]
    return Contents(
        title="Temporal action localization",
        does="finds when actions happen in untrimmed video",
        tags=["temporal-action-localization", "temporal-action-detection", "video"],
        metrics=[_METRIC],
        loop=["action", "print(action.label, action.start_s, action.end_s, action.score)"],
        measured=[_measured(folder, one) for folder, one in found if not is_upper_bound(one)],
    )


def _measured(folder: Path, results: Results) -> Measured:

    uncertainty = results.uncertainty
    of_tious = [None] * len(results.tious) if uncertainty is None else uncertainty.mean_ap
    ends = f"{threshold(min(results.tious))} to {threshold(max(results.tious))}"
    rows = [
        (f"average mAP, tIoU {ends}", results.average_map, uncertainty and uncertainty.average_map),
        *(
            (f"mAP at tIoU {threshold(tiou)}", value, interval)
            for tiou, value, interval in zip(results.tious, results.mean_ap, of_tious, strict=True)
        ),
    ]
    beside = published.beside_published(results)
    counts = results.counts
    reason = "" if uncertainty is None else uncertainty.reason
    unmeasured = [f"There are no intervals: {reason}."] if reason else []
    return Measured(
        folder=folder,
        results=results,
        scored=f"{console.count(counts.videos, 'video')}, {console.count(counts.truths, 'action')}",
        rules=f"protocol {results.protocol}",
        metrics=[
            Metric(name, _METRIC, 100 * value, in_percent(interval))
            for name, value, interval in rows
            if value is not None
        ],
        level=None if uncertainty is None else uncertainty.level,
        tables=[*([beside] if beside else []), class_table(results)],
        limits=[*results.cautions(), *unmeasured, *(f"{line}." for line in counts.cut_lines())],
    )
