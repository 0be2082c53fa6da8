"""The file `errors.json`, which `eval` writes beside its metrics; its names are those of the paper's code."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actloc import files
from actloc.evaluation.columns import Floats
from actloc.evaluation.error_analysis.analysis import BinErrors, ErrorAnalysis, analysis_of
from actloc.evaluation.error_analysis.kinds import KINDS
from actloc.evaluation.predictions import Predictions
from actloc.evaluation.results import Results

ERRORS_NAME = "errors.json"
_HEAD = {"name", "dataset", "variant", "subset", "protocol", "checkpoint", "created"}
"""What the file repeats of metrics.json, so that it says whose errors these are."""


def write_errors(folder: Path, results: Results, predictions: Predictions) -> Path:
    """Analyses the predictions that the results are of, and writes `errors.json` into `folder`; returns its path.

    It is one line: each prediction has a row with its kind at each tIoU, a million numbers on ActivityNet.
    """
    path = folder / ERRORS_NAME
    analysis = analysis_of(results, predictions)
    head = results.model_dump(mode="json", include=_HEAD)
    files.write_text(path, files.json_line({**head, "bins": analysis.bins_name, **as_json(analysis)}) + "\n")
    return path


def as_json(analysis: ErrorAnalysis) -> dict[str, Any]:  # Any: JSON values
    """The whole analysis as JSON; an edge without end is "inf", and bins without true actions are left out."""
    by_bin = {one.bins.characteristic: one for one in analysis.by_bin}
    return {
        "tious": analysis.tious,
        "classes": analysis.classes,
        "mean_truths_per_class": analysis.mean_truths_per_class,
        "normalised_ap": analysis.normalised_ap.tolist(),
        "false_positives": _false_positives(analysis),
        "false_negatives": {name: _false_negatives(one, analysis.tious) for name, one in by_bin.items()},
        "sensitivity": {
            "base_normalised_map": analysis.base_normalised_map,
            **{name: _by_label(one.bins.labels, one.normalised_map) for name, one in by_bin.items()},
        },
    }


def _false_positives(analysis: ErrorAnalysis) -> dict[str, Any]:  # Any: JSON values
    about, subset, errors = analysis.false_positives, analysis.subset, KINDS[1:]
    rows, predictions = about.rows, subset.predictions
    return {
        "kept_predictions": len(rows),
        "counts": {
            repr(tiou): dict(zip(KINDS, counts, strict=True))
            for tiou, counts in zip(analysis.tious, about.counts.tolist(), strict=True)
        },
        "map_gain": dict(zip(errors, about.gains.tolist(), strict=True)),
        "ap_without": dict(zip(errors, about.ap_without.tolist(), strict=True)),
        "per_group_of_G": [dict(zip(KINDS, group, strict=True)) for group in about.per_group.tolist()],
        "each": [
            [subset.videos[video], start_s, end_s, subset.labels[label], score, [KINDS[kind] for kind in kinds]]
            for video, start_s, end_s, label, score, kinds in zip(
                predictions.videos[rows].tolist(),
                predictions.starts_s[rows].tolist(),
                predictions.ends_s[rows].tolist(),
                predictions.labels[rows].tolist(),
                predictions.scores[rows].tolist(),
                about.kinds.T.tolist(),
                strict=True,
            )
        ],
    }


def _false_negatives(one: BinErrors, tious: Sequence[float]) -> dict[str, Any]:  # Any: JSON values
    labels, has_truths = one.bins.labels, one.bins.counts > 0
    return {
        "bins": ["inf" if math.isinf(edge) else edge for edge in one.bins.edges],
        "labels": labels,
        "share": {
            label: share for label, share, there in zip(labels, one.share.tolist(), has_truths, strict=True) if there
        },
        "missed": _by_label(labels, one.missed.mean(axis=0)),
        "missed_per_tiou": {
            repr(tiou): _by_label(labels, missed) for tiou, missed in zip(tious, one.missed, strict=True)
        },
    }


def _by_label(labels: Sequence[str], values: Floats) -> dict[str, float]:
    """The values by the names of their bins, without those that are nan."""
    named = zip(labels, values.tolist(), strict=True)
    return {label: value for label, value in named if not math.isnan(value)}
