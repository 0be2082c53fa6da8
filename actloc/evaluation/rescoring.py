"""Scores the files of an evaluation again: the mAP of test sets that are drawn from its videos."""

from collections.abc import Sequence

from actloc.annotations.model import Action, AnnotatedVideo
from actloc.evaluation import bootstrap, detection, scoring
from actloc.evaluation.columns import Floats
from actloc.evaluation.predictions import Predictions
from actloc.evaluation.protocols import PROTOCOLS, Protocol
from actloc.evaluation.results import Results
from actloc.evaluation.uncertainty import Uncertainty

_SAME = 1e-9


def truth_of(results: Results) -> scoring.Truth:
    """The true actions that were scored; without the protocol's repeats, which `eval` left out."""
    videos = [
        AnnotatedVideo(
            video.id,
            results.subset,
            tuple(Action(one.start_s, one.end_s, one.label) for one in video.truth),
            video.duration_s,
            annotated=tuple((start, end) for start, end in video.annotated),
            ambiguous=tuple((start, end) for start, end in results.ambiguous.get(video.id, [])),
        )
        for video in results.videos
    ]
    return scoring.Truth(videos, {video.id: video.actions for video in videos}, tuple(results.classes), results.variant)


def hindrance(results: Results, predictions: Predictions) -> str:
    """Why the files do not give the numbers again; empty if they do."""
    if results.protocol not in PROTOCOLS:
        return f"this version does not know the protocol {results.protocol}"
    if not any(results.truth_per_class):
        return "there are no true actions"
    protocol = _protocol(results)
    truth, columns = scoring.to_columns(truth_of(results), predictions, protocol)
    again = detection.average_precision(truth, columns, results.tious, protocol).mean(axis=1)
    pairs = zip(results.mean_ap, again, strict=True)
    if any(value is None or abs(value - one) > _SAME for value, one in pairs):
        return "its files do not give its mAP again; evaluate it again with this version"
    return ""


def uncertainty_of(results: Results, predictions: Predictions) -> Uncertainty:
    """What `eval` stored; for files of older versions, measured now."""
    if results.uncertainty is not None:
        return results.uncertainty
    reason = hindrance(results, predictions)
    if reason:
        return bootstrap.no_uncertainty(len(results.tious), reason)
    truth, protocol = truth_of(results), _protocol(results)
    times = bootstrap.times_of(scoring.video_order(truth, predictions), truth.actions)
    return bootstrap.uncertainty(*scoring.to_columns(truth, predictions, protocol), results.tious, times, protocol)


def drawn_maps(results: Results, predictions: Predictions, tious: Sequence[float]) -> Floats:
    """mAP (tIoUs, draws); results on the same videos get the same draws. Only where there is no `hindrance`."""
    truth, protocol = truth_of(results), _protocol(results)
    times = bootstrap.times_of(scoring.video_order(truth, predictions), truth.actions)
    return bootstrap.mean_aps(*scoring.to_columns(truth, predictions, protocol), tious, times, protocol)


def _protocol(results: Results) -> Protocol:
    return next(protocol for name, protocol in PROTOCOLS.items() if name == results.protocol)
