"""Published figures beside measured ones: their texts, and what hinders a comparison."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from actloc.evaluation.results import Results, ResultsHead
from actloc.reports.cells import Cell, Table, by_tiou
from actloc.reports.text import UNMEASURED, percent, threshold
from actloc.settings.published import PublishedFigures, PublishedMap

DIFFERENCE = "to published"
"""The heading of the differences between measured and published figures."""
_SAME = 1e-9
_Figures_co = TypeVar("_Figures_co", bound=PublishedFigures, covariant=True)


class WithPublished(Protocol[_Figures_co]):
    """Results that know the published figures of their settings."""

    @property
    def published(self) -> _Figures_co | None:
        """None where nothing is known."""


def all_of(runs: Sequence[WithPublished[_Figures_co]]) -> list[_Figures_co]:
    """The published figures of the runs, each once."""
    figures: list[_Figures_co] = []
    for run in runs:
        if run.published is not None and run.published not in figures:
            figures.append(run.published)
    return figures


def row_name(figures: PublishedFigures) -> str:
    """How a row of published figures is called."""
    return f"published: {figures.source}"


def caption(figures: PublishedFigures) -> str:
    """What must be known of published figures, in one line."""
    note = f" ({figures.note})" if figures.note else ""
    return f"{row_name(figures)}{note}; not measured here."


def figure(value: float | None, others: Sequence[float | None] = ()) -> str:
    """A published figure in percent, with as many decimals as any of the `others` beside it has."""
    if value is None:
        return UNMEASURED
    decimals = max(len(f"{one:.6g}".partition(".")[2]) for one in (value, *others) if one is not None)
    return f"{value:.{decimals}f}"


def difference(measured: float | None, published: float | None) -> str:
    """How much a measured proportion is above a published percentage, in percent; a dash if one is missing."""
    if measured is None or published is None:
        return UNMEASURED
    above = round(100 * measured - published, 2)
    return f"{above:+.2f}" if abs(above) > _SAME else "0.00"


def hindrance_of_any(run: ResultsHead, figures: PublishedFigures) -> str:
    """Why results of any task cannot be compared with published ones; empty if nothing is known against it."""
    if run.is_measured_on_training_videos():
        return "the run was trained on videos that are scored"
    return figures.other_data(run.subset, run.variant)


def hindrance(run: Results) -> str:
    """Why a detector's results cannot be compared with the published ones of their settings; empty if they can."""
    figures = run.published
    if figures is None:
        return "nothing is published for these settings"
    if run.classifier is not None and run.classifier.is_upper_bound:
        return "the true classes were used"
    if len(run.classes) == 1:
        return "only one class is scored"
    if figures.protocol != run.protocol:
        return f"protocol {figures.protocol}, here {run.protocol}"
    return hindrance_of_any(run, figures)


def average_for(run: Results) -> float | None:
    """The published average mAP, in percent; None if it is over other temporal IoUs than the run's."""
    figures = run.published
    if figures is None or len(figures.tious) != len(run.tious):
        return None
    same = all(abs(one - other) < _SAME for one, other in zip(sorted(figures.tious), sorted(run.tious), strict=True))
    return figures.average if same else None


def map_row(figures: PublishedMap, tious: Sequence[float]) -> list[Cell]:
    """The row of published figures in a table of these temporal IoUs; the average only if it is over the same ones."""
    at = by_tiou(figures.tious, figures.map or [None] * len(figures.tious))
    every = [*figures.map, figures.average]
    values = [*(at.get(tiou) for tiou in tious), figures.average if sorted(at) == list(tious) else None]
    return [
        Cell(row_name(figures)),
        *(Cell(figure(value, every)) for value in values),
        Cell(UNMEASURED),
    ]


def above(run: Results) -> str:
    """How much the run's average mAP is above the published one; a dash where they cannot be compared."""
    if hindrance(run):
        return UNMEASURED
    return difference(run.average_map, average_for(run))


def not_compared(run: Results, name: str) -> list[str]:
    """Why a run has no difference to the published figures of its settings, where there are some."""
    if run.published is None:
        return []
    reason = hindrance(run)
    if not reason and average_for(run) is None:
        reason = "the published average is over other tIoUs"
    return [f"{name} is not compared with the published figures: {reason}."] if reason else []


def beside_published(run: Results) -> Table | None:
    """What was measured beside what was published, per tIoU; None where nothing was."""
    figures = run.published
    if figures is None:
        return None
    at = by_tiou(figures.tious, figures.map or [None] * len(figures.tious))
    pairs = [("mAP", tiou, value, at.get(tiou)) for tiou, value in by_tiou(run.tious, run.mean_ap).items()]
    found = dict(zip(run.recall_multiples, run.recall, strict=True)).get(1)
    if found is not None and figures.recall_at_1:
        recalled = by_tiou(figures.tious, figures.recall_at_1)
        pairs += [("Recall@1x", tiou, value, recalled.get(tiou)) for tiou, value in by_tiou(run.tious, found).items()]
    lines = [(f"{what} at {threshold(tiou)}", value, theirs) for what, tiou, value, theirs in pairs]
    lines.append(("average", run.average_map, average_for(run)))
    is_fair, every = not hindrance(run), [*figures.map, figures.average]
    return Table(
        title="Beside published figures, in percent at temporal IoU",
        columns=["", "measured", "published", "difference"],
        num_names=1,
        rows=[
            [
                Cell(name),
                Cell(percent(value)),
                Cell(figure(theirs, every)),
                Cell(difference(value, theirs) if is_fair else UNMEASURED),
            ]
            for name, value, theirs in lines
        ],
        caption=[caption(figures), *not_compared(run, "This run")],
    )


def headline(run: Results) -> str:
    """The published average beside the measured one, in one line; empty if none can be put beside it."""
    figures, theirs = run.published, average_for(run)
    if figures is None or theirs is None:
        return ""
    number = figure(theirs, [*figures.map, figures.average])
    compared = "not comparable" if hindrance(run) else f"difference {above(run)}"
    return f"published: {number} % ({figures.source}); {compared}"
