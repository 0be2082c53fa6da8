"""Self-contained HTML pages: the report of one or several runs, and the timelines of `actloc predict`.

All foreign text passes through Jinja's autoescape and `printable`. A page contains no address and no script but those
of reports, and its Content-Security-Policy forbids all others, so that a hostile name in a dataset cannot harm
whoever opens it.
"""

import base64
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

import actloc
from actloc import console
from actloc.evaluation.matching import MATCH_TIOU, Judged, Thresholds, worst_first
from actloc.evaluation.predictions import Predictions
from actloc.evaluation.results import UNKNOWN_VIDEOS, Results, ResultsHead, Video
from actloc.reports import curve_figures, epochs, figures, published, text, timelines
from actloc.reports.cells import Table, mean
from actloc.reports.comparison import Pair, pairs_with_first
from actloc.reports.curves import Curves, curves_of
from actloc.reports.data_tables import data_tables
from actloc.reports.error_figures import ErrorView, error_view
from actloc.reports.error_tables import error_comparison
from actloc.reports.reproduction import commands
from actloc.reports.run_settings import differing, key_facts
from actloc.reports.runs import Evaluation, RunRecord
from actloc.reports.seeds import merged_table
from actloc.reports.tables import (
    class_comparison,
    more_tables,
    run_names,
    scored_data,
    settings_text,
)

MOST_TIMELINES = 30
"""Videos drawn on a page, about 1 MB of it; the others are listed in a table."""
MOST_CLASSES = 40
"""Classes of a table that are not folded."""
_SCRIPTS = ("filter.js", "thresholds.js")
_MOST_PREDICTED = 200
"""Videos drawn on the page of `actloc predict`."""


@dataclass(frozen=True)
class Omission:
    """Something that was left out or missed: how often, and the names of those concerned."""

    what: str
    count: int
    names: list[str]


@dataclass(frozen=True)
class ClassLine:
    """A row of the class table."""

    label: str
    colour: int
    num_actions: int
    aps: list[float | None]
    average: float | None
    score: float | None
    f1: float


@dataclass(frozen=True)
class RunView:
    """What the template shows of one run."""

    anchor: str
    name: str
    short_name: str
    """What the run is called where there is little room: run 1."""
    results: Results
    facts: list[tuple[str, str]]
    omissions: list[Omission]
    tables: list[Table]
    data: list[Table]
    classes: list[ClassLine]
    lengths: figures.Lengths | None
    timelines: list[timelines.Timeline]
    undrawn: list[Judged]
    curve: figures.Curve | None
    errors: ErrorView | None
    """Where it fails; None without true actions."""
    curves: curve_figures.CurvesView | None
    """None if there are no true actions."""
    published: str
    """The published figure and the difference to it, in one line; empty if nothing is published."""
    commands: list[str]
    settings: str | None
    environment: str | None


@dataclass(frozen=True)
class UndrawnVideo:
    """A video that has no timeline, with the F1 of each run; None where a run does not have it, or nothing to score."""

    name: str
    f1: list[float | None]


@dataclass(frozen=True)
class Comparison:
    """What the template shows of several runs together."""

    tables: list[Table]
    pairs: Sequence[Pair]
    """The first run with each of the others."""
    settings: Table | None
    errors: list[Table]
    classes: Table
    curves: list[curve_figures.AtTiou]
    timelines: list[timelines.Timeline]
    undrawn: list[UndrawnVideo]


def report_page(
    evaluations: Sequence[Evaluation],
    pairs: Sequence[Pair] | None = None,
    curves: Sequence[Curves | None] | None = None,
) -> str:
    """The page `report.html`: first a comparison if there are several runs, then each run by itself.

    `pairs` are those of the first run with each of the others, and `curves` those of each run, if they are known
    already.
    """
    if curves is None:
        curves = [curves_of(one.results, one.predictions) for one in evaluations]
    names = run_names([evaluation.results for evaluation in evaluations])
    views = [
        _view(number, name, evaluation, measured, is_alone=len(evaluations) == 1)
        for number, (name, evaluation, measured) in enumerate(zip(names, evaluations, curves, strict=True), start=1)
    ]
    pairs = pairs_with_first(evaluations) if pairs is None else pairs
    compared = _comparison(evaluations, names, pairs, curves) if len(evaluations) > 1 else None
    page = template("report.html.jinja")
    return page.render(runs=views, compared=compared, match_tiou=MATCH_TIOU, most_classes=MOST_CLASSES)


def _comparison(
    evaluations: Sequence[Evaluation],
    names: Sequence[str],
    pairs: Sequence[Pair],
    curves: Sequence[Curves | None],
) -> Comparison:
    runs = [evaluation.results for evaluation in evaluations]
    short = {number: f"run {number}" for number in range(1, len(runs) + 1)}
    labels = dict.fromkeys(label for run in runs for label in run.classes)
    looks = {
        short[number]: timelines.looks_of(labels, evaluation.predictions)
        for number, evaluation in enumerate(evaluations, start=1)
    }
    videos: dict[tuple[str, str, str, str], dict[str, Judged]] = {}
    for number, evaluation in enumerate(evaluations, start=1):
        run = evaluation.results
        for judged in worst_first(run, evaluation.predictions):
            same = (run.dataset, run.variant, run.subset, judged.video.model_dump_json())
            videos.setdefault(same, {})[short[number]] = judged

    def badness(by_run: dict[str, Judged]) -> tuple[float, float]:
        keys = [judged.judgement.sort_key for judged in by_run.values()]
        return fmean(f1 for f1, _ in keys), fmean(mistakes for _, mistakes in keys)

    in_order = sorted(videos.values(), key=badness)
    in_epochs = epochs.tables([(one, one.results) for one in evaluations], list(short.values()))
    return Comparison(
        tables=[_average_first(table) for table in (merged_table(evaluations), *more_tables(runs), *in_epochs)],
        pairs=pairs,
        settings=differing(list(short.values()), [one.as_used for one in evaluations]),
        errors=error_comparison(list(short.values()), [one.errors for one in evaluations]),
        classes=class_comparison(runs, list(short.values())),
        curves=curve_figures.compared(curves, list(short.values())),
        timelines=[timelines.compared_timeline(by_run, looks) for by_run in in_order[:MOST_TIMELINES]],
        undrawn=[
            UndrawnVideo(
                next(iter(by_run.values())).video.id,
                [by_run[name].judgement.f1 if name in by_run else None for name in short.values()],
            )
            for by_run in in_order[MOST_TIMELINES:]
        ],
    )


def predictions_page(
    title: str,
    videos: Sequence[Video],
    predictions: Predictions,
    thresholds: Thresholds | None = None,
    facts: Mapping[str, str] | None = None,
) -> str:
    """The page of `actloc predict`: a timeline per video, in the order given.

    Predictions below their class's threshold, if `thresholds` are given, are drawn as not counting. `facts`, such as
    the name of the run, are shown at the top. Of thousands of videos the first are drawn, and the others counted.
    """
    labels = {one.label for claimed in predictions.values() for one in claimed}
    # with all classes of the run, a class has the same colour whatever else is found
    looks = timelines.looks_of(sorted(labels | (thresholds or {}).keys()), predictions)
    drawn = [
        timelines.predicted_timeline(video, predictions.get(video.id, []), thresholds, looks)
        for video in videos[:_MOST_PREDICTED]
    ]
    page = template("predictions.html.jinja")
    return page.render(
        title=title,
        timelines=drawn,
        num_undrawn=len(videos) - len(drawn),
        has_thresholds=thresholds is not None,
        facts=list((facts or {}).items()),
    )


def template(name: str) -> Template:
    """A page of this folder, which escapes all foreign text."""
    return _environment().get_template(name)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else text.printable(value),
    )
    environment.filters |= {
        "percent": text.percent,
        "score": text.score,
        "seconds": text.seconds,
        "threshold": text.threshold,
        "short": _short,
        "short_percent": text.short_percent,
        "average_first": _average_first,
    }
    environment.globals |= {
        "script": _script(),
        "script_policy": script_policy(),
        "version": actloc.__version__,
        "count": console.count,
        "num_colours": timelines.NUM_COLOURS,
        "room_steps_px": timelines.ROOM_STEPS_PX,
        "most_counted": timelines.MOST_COUNTED,
        "most_below": timelines.MOST_BELOW,
        "first_chosen": curve_figures.first_chosen,
    }
    return environment


def _short(number: float) -> str:
    """A position in a drawing, with two decimals: a hundredth of a percent is less than a pixel."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _average_first(table: Table) -> Table:
    """The table with the average before the numbers it is of, so that narrow windows show it."""
    places = list(range(len(table.columns)))
    first = [place for place in places if table.columns[place] in ("average", published.DIFFERENCE)]
    order = [*places[: table.num_names], *first, *(one for one in places[table.num_names :] if one not in first)]
    return replace(
        table,
        columns=[table.columns[place] for place in order],
        rows=[[row[place] for place in order] for row in table.rows],
    )


def script_policy() -> str:
    """The source that a page's policy allows: the one script, by its hash."""
    digest = hashlib.sha256(_script().encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@functools.cache
def _script() -> Markup:
    return Markup("".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in _SCRIPTS))


def _view(number: int, name: str, evaluation: Evaluation, curves: Curves | None, *, is_alone: bool) -> RunView:
    """Timelines only for a run that is alone: those of several are drawn together."""
    results, anchor = evaluation.results, f"run-{number}"
    beside = published.beside_published(results)
    in_epochs = epochs.tables([(evaluation, results)], [name])
    judged = worst_first(results, evaluation.predictions)
    looks = timelines.looks_of(results.classes, evaluation.predictions)
    return RunView(
        anchor=anchor,
        name=name,
        short_name=f"run {number}",
        results=results,
        facts=_facts(evaluation),
        omissions=_omissions(results),
        tables=[
            *([beside] if beside else []),
            *map(_average_first, [*more_tables([results]), *(in_epochs if is_alone else [])]),
        ],
        data=data_tables(evaluation.run, evaluation.chosen, results),
        classes=_class_lines(results, looks.colours),
        lengths=figures.lengths(judged),
        timelines=[timelines.judged_timeline(item, looks) for item in judged[: MOST_TIMELINES * is_alone]],
        undrawn=judged[MOST_TIMELINES:] if is_alone else [],
        curve=figures.curve(evaluation.losses),
        errors=error_view(evaluation.errors) if evaluation.errors else None,
        curves=None if curves is None else curve_figures.view(curves),
        published=published.headline(results),
        commands=commands(evaluation, results),
        settings=evaluation.settings,
        environment=evaluation.environment,
    )


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    results = evaluation.results
    return [
        ("Data", scored_data(results)),
        ("Protocol", results.protocol),
        *key_facts(evaluation.chosen, last_step(results, evaluation)),
        *provenance_facts(results),
    ]


def last_step(results: ResultsHead, record: RunRecord) -> int | None:
    """The optimizer steps that the run had made; None if it is not recorded."""
    if results.trained is not None:
        return results.trained.step
    return record.losses[-1][0] if record.losses else None


def provenance_facts(results: ResultsHead) -> list[tuple[str, str]]:
    """Where the results of any task come from, as rows of a list of facts."""
    unknown = "not recorded"
    weights = f", {results.weights} weights" if results.weights else ""
    return [
        ("Checkpoint", f"{results.checkpoint}{weights}"),
        *([("Changed settings", settings_text(results.changed))] if results.changed else []),
        ("Seed", unknown if results.seed is None else str(results.seed)),
        ("Commit", results.commit or unknown),
        *[("Own code", f"{path}, sha256 {sha256}") for path, sha256 in results.code.items()],
        ("Machine", results.machine),
        *([("Annotations", f"sha256 {results.annotations_sha256[:12]}")] if results.annotations_sha256 else []),
        ("actloc", results.version),
        ("Evaluated", results.created),
    ]


def _omissions(results: Results) -> list[Omission]:
    counts = results.counts
    silent, unread = counts.videos_without_predictions, counts.videos_without_features
    others = dict(counts.names)
    outside = others.pop(UNKNOWN_VIDEOS, [])
    missed = "without predictions"
    if silent:
        actions = console.count(counts.truths_missed_there, "true action counts", "true actions count")
        missed += f"; {actions} as missed"
    return [
        _omission(len(silent), "video", missed, silent),
        _omission(len(unread), "video", "without features", unread),
        _omission(counts.predictions_of_unknown_videos, "prediction", "for videos outside the subset", outside),
        _omission(counts.unknown_labels, "prediction", "with unknown labels"),
        _omission(counts.duplicates_removed, "repeated true action", "removed"),
        _omission(counts.ties, "prediction", "tied in score with another of their class"),
        *(
            _omission(count, "video", f"with detections of lower scores left out by {setting}")
            for setting, count in counts.cut_videos.items()
        ),
        *(Omission(what, count, []) for what, count in counts.dropped.items()),
        *(Omission(what, len(names), names) for what, names in others.items()),
    ]


def _omission(count: int, noun: str, rest: str, names: list[str] | None = None) -> Omission:
    return Omission(f"{noun if count == 1 else f'{noun}s'} {rest}", count, names or [])


def _class_lines(results: Results, colours: Mapping[str, int]) -> list[ClassLine]:
    lines = [
        ClassLine(label, colours[label], num_actions, aps, mean(aps), best.score, best.f1)
        for label, num_actions, aps, best in zip(
            results.classes, results.truth_per_class, results.class_ap, results.thresholds, strict=True
        )
    ]
    return sorted(lines, key=lambda line: -1.0 if line.average is None else line.average, reverse=True)
