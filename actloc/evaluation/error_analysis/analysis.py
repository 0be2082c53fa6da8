"""Where a detector fails: what kinds of false positives it makes, what each costs, and which true actions it misses.

By the definitions of Alwassel et al., "Diagnosing Error in Temporal Action Detectors" (ECCV 2018), for any dataset.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actloc.evaluation.columns import Booleans, Floats, Integers, PredictionColumns
from actloc.evaluation.error_analysis.bins import Bins, bins_for, bins_of
from actloc.evaluation.error_analysis.kinds import KINDS, Kinds, kinds_of
from actloc.evaluation.error_analysis.ranking import Ranking
from actloc.evaluation.error_analysis.subset import Subset, subset_of
from actloc.evaluation.predictions import Predictions
from actloc.evaluation.results import Results, Video
from actloc.settings.choices import ErrorBins

NUM_GROUPS = 10
"""The false positives of a class with G true actions are those among its best 10 G predictions."""
LOWEST_PRECISION = 0.05
"""A match at a precision_N that is not above this finds nothing."""


@dataclass(frozen=True)
class FalsePositives:
    """The best 10 G predictions of each class, by descending score, and what they are."""

    rows: Integers
    """Their rows among the subset's predictions."""
    kinds: Kinds
    """(tIoUs, predictions kept), as places in `KINDS`."""
    per_group: Integers
    """Ranks 1 to G, G + 1 to 2 G, ...: (groups, kinds, tIoUs)."""
    ap_without: Floats
    """AP_N without the predictions of each kind of error (kinds without true positives, tIoUs, classes)."""
    gains: Floats
    """What each of these kinds costs: mAP_N without its predictions minus mAP_N."""

    @property
    def counts(self) -> Integers:
        """The predictions of each kind (tIoUs, kinds)."""
        return self.per_group.sum(axis=0).T


@dataclass(frozen=True)
class BinErrors:
    """What the true actions of each range of one characteristic have to do with the result."""

    bins: Bins
    share: Floats
    """Of all true actions (bins)."""
    missed: Floats
    """The share that is missed (tIoUs, bins); nan for ranges without true actions."""
    normalised_map: Floats
    """mAP_N over the true actions of the range (bins); nan without any."""


@dataclass(frozen=True)
class ErrorAnalysis:
    """Where a detector fails on a subset."""

    subset: Subset
    tious: list[float]
    bins_name: ErrorBins
    mean_truths_per_class: float
    """N."""
    normalised_ap: Floats
    """AP_N of the best 10 G predictions of each class (tIoUs, classes)."""
    base_normalised_map: float
    """mAP_N of all predictions."""
    false_positives: FalsePositives
    by_bin: list[BinErrors]

    @property
    def classes(self) -> list[str]:
        """The classes with true actions, in the order of the columns of AP_N: that in which they occur."""
        return self.subset.labels[: self.subset.num_classes]

    @property
    def normalised_map(self) -> float:
        """mAP_N of the best 10 G predictions of each class, which the costs are added to."""
        return float(self.normalised_ap.mean())


def analyse(
    videos: Sequence[Video], predictions: Predictions, tious: Sequence[float], bins: ErrorBins
) -> ErrorAnalysis:
    """Analyses the predictions for the videos of a subset, as metrics.json and predictions.json keep both.

    Predictions for other videos are background; those of classes without true actions are not counted. Of equal scores
    the lowest row goes first. Raises UserError if there is no true action.
    """
    return analyse_columns(subset_of(videos, predictions), tious, bins)


def analyse_columns(subset: Subset, tious: Sequence[float], bins: ErrorBins) -> ErrorAnalysis:
    """The same from columns."""
    ranking = Ranking(subset.truth, subset.predictions, tious)
    is_hit, counts = ranking.matched >= 0, ranking.truth_counts
    every = np.ones_like(is_hit)
    is_kept = np.broadcast_to(ranking.ranks < NUM_GROUPS * counts[ranking.classes], is_hit.shape)
    normalised_ap = ranking.normalised_ap(is_hit & is_kept, is_kept, counts)
    base = float(ranking.normalised_ap(is_hit, every, counts).mean())
    finds = is_hit & (ranking.precisions(is_hit, every, counts) > LOWEST_PRECISION)
    return ErrorAnalysis(
        subset=subset,
        tious=list(tious),
        bins_name=bins,
        mean_truths_per_class=ranking.mean_truths,
        normalised_ap=normalised_ap,
        base_normalised_map=base,
        false_positives=_false_positives(subset, ranking, tious, is_kept, normalised_ap),
        by_bin=[_bin_errors(one, ranking, finds) for one in bins_of(subset, bins)],
    )


def analysis_of(results: Results, predictions: Predictions) -> ErrorAnalysis:
    """The analysis of an evaluation, also of an older version, from what it wrote."""
    bins = bins_for(results.error_bins, results.dataset)
    return analyse(results.videos, predictions, results.tious, bins)


def _false_positives(
    subset: Subset, ranking: Ranking, tious: Sequence[float], is_kept: Booleans, normalised_ap: Floats
) -> FalsePositives:
    """Every kind by its place in the ranking; then the predictions kept by score."""
    is_hit, counts = ranking.matched >= 0, ranking.truth_counts
    ranked = _rows_of(subset.predictions, ranking.rows)
    kinds = kinds_of(subset.truth, ranked, tious, is_hit)
    ap_without = np.stack(
        [ranking.normalised_ap(is_hit & is_kept, is_kept & (kinds != kind), counts) for kind in range(1, len(KINDS))]
    )
    kept = np.flatnonzero(is_kept[0])
    groups = ranking.ranks[kept] // counts[ranking.classes[kept]]
    per_group = np.stack(
        [
            np.bincount(groups * len(KINDS) + row[kept], minlength=NUM_GROUPS * len(KINDS)).reshape(-1, len(KINDS))
            for row in kinds
        ],
        axis=-1,
    )
    by_score = kept[np.lexsort((ranking.rows[kept], -ranked.scores[kept]))]
    gains = ap_without.mean(axis=(1, 2)) - normalised_ap.mean()
    return FalsePositives(ranking.rows[by_score], kinds[:, by_score], per_group, ap_without, gains)


def _rows_of(predictions: PredictionColumns, rows: Integers) -> PredictionColumns:
    return PredictionColumns(
        predictions.videos[rows],
        predictions.starts_s[rows],
        predictions.ends_s[rows],
        predictions.labels[rows],
        predictions.scores[rows],
    )


def _bin_errors(bins: Bins, ranking: Ranking, finds: Booleans) -> BinErrors:
    """Misses and sensitivity.

    A prediction that matches a true action outside a range at any tIoU is left out of the range's mAP_N at every tIoU.
    """
    num_truths, num_bins = len(bins.places), len(bins.labels)
    missed = np.full((len(finds), num_bins), np.nan)
    maps = np.full(num_bins, np.nan)
    is_match = ranking.matched >= 0
    bin_of = np.where(is_match, bins.places[ranking.matched], -1)
    for place in np.flatnonzero(bins.counts):
        is_in = bins.places == place
        missed[:, place] = 1 - (finds & (bin_of == place)).sum(axis=1) / is_in.sum()
        is_counted = np.broadcast_to(~(is_match & (bin_of != place)).any(axis=0), is_match.shape)
        truth_counts = np.bincount(ranking.truth_classes[is_in], minlength=ranking.num_classes)
        maps[place] = np.nanmean(ranking.normalised_ap(is_match & is_counted, is_counted, truth_counts))
    return BinErrors(bins, bins.counts / num_truths, missed, maps)
