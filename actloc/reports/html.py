"""Self-contained HTML pages: the report of one or several runs, and the timelines of `actloc predict`.

All foreign text passes through Jinja's autoescape and `printable`. A page contains no script and no address, and its
Content-Security-Policy forbids both, so that a hostile name in a dataset cannot harm whoever opens it.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

import actloc
from actloc import console
from actloc.evaluation.matching import MATCH_TIOU, Judged, Thresholds, worst_first
from actloc.evaluation.predictions import Predictions
from actloc.evaluation.results import UNKNOWN_VIDEOS, Results, ResultsHead, Video
from actloc.reports import figures, text, timelines
from actloc.reports.runs import Evaluation
from actloc.reports.tables import (
    Table,
    class_comparison,
    map_table,
    mean,
    more_tables,
    run_names,
    scored_data,
    settings_text,
)

MOST_TIMELINES = 40
"""Videos drawn per run, about 1.5 MB of page; the others are listed in a table."""


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
    results: Results
    facts: list[tuple[str, str]]
    omissions: list[Omission]
    tables: list[Table]
    classes: list[ClassLine]
    lengths: figures.Lengths | None
    timelines: list[timelines.Timeline]
    undrawn: list[Judged]
    curve: figures.Curve | None
    commands: list[str]
    settings: str | None
    environment: str | None


def report_page(evaluations: Sequence[Evaluation]) -> str:
    """The page `report.html`: first a comparison if there are several runs, then each run by itself."""
    runs = [evaluation.results for evaluation in evaluations]
    tables = [map_table(runs), *more_tables(runs), class_comparison(runs)] if len(runs) > 1 else []
    views = [
        _view(f"run-{number}", name, evaluation)
        for number, (name, evaluation) in enumerate(zip(run_names(runs), evaluations, strict=True), start=1)
    ]
    page = template("report.html.jinja")
    return page.render(runs=views, tables=tables, match_tiou=MATCH_TIOU)


def predictions_page(
    title: str,
    videos: Sequence[Video],
    predictions: Predictions,
    thresholds: Thresholds | None = None,
    facts: Mapping[str, str] | None = None,
) -> str:
    """The page of `actloc predict`: a timeline per video, in the order given.

    Predictions below their class's threshold, if `thresholds` are given, are drawn as not counting. `facts`, such as
    the name of the run, are shown at the top.
    """
    labels = sorted({one.label for claimed in predictions.values() for one in claimed})
    looks = timelines.looks_of(labels, predictions)
    drawn = [timelines.predicted_timeline(video, predictions.get(video.id, []), thresholds, looks) for video in videos]
    page = template("predictions.html.jinja")
    return page.render(
        title=title,
        timelines=drawn,
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
    }
    environment.globals |= {
        "version": actloc.__version__,
        "count": console.count,
        "num_colours": timelines.NUM_COLOURS,
        "room_steps_px": timelines.ROOM_STEPS_PX,
        "most_counted": timelines.MOST_COUNTED,
        "most_below": timelines.MOST_BELOW,
    }
    return environment


def _short(number: float) -> str:
    """A position in a drawing, with two decimals: a hundredth of a percent is less than a pixel."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _view(anchor: str, name: str, evaluation: Evaluation) -> RunView:
    results = evaluation.results
    judged = worst_first(results, evaluation.predictions)
    looks = timelines.looks_of(results.classes, evaluation.predictions)
    return RunView(
        anchor=anchor,
        name=name,
        results=results,
        facts=_facts(results),
        omissions=_omissions(results),
        tables=more_tables([results]),
        classes=_class_lines(results, looks.colours),
        lengths=figures.lengths(judged),
        timelines=[timelines.judged_timeline(item, looks) for item in judged[:MOST_TIMELINES]],
        undrawn=judged[MOST_TIMELINES:],
        curve=figures.curve(evaluation.losses),
        commands=evaluation.commands,
        settings=evaluation.settings,
        environment=evaluation.environment,
    )


def _facts(results: Results) -> list[tuple[str, str]]:
    return [
        ("Data", scored_data(results)),
        ("Protocol", results.protocol),
        *provenance_facts(results),
    ]


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
