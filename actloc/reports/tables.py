"""Tables that compare one or several runs: mAP per tIoU and AP per class, for pages, the terminal and Markdown."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rich.table import Table as RichTable
from rich.text import Text

from actloc import console
from actloc.evaluation.results import Results, ResultsHead
from actloc.reports import map_rows, published
from actloc.reports.cells import Cell, Table, by_tiou, cells, mean
from actloc.reports.map_rows import SeedGroup
from actloc.reports.text import markdown, one_line, percent, threshold

_UPPER_BOUND = "true classes: upper bound"
_CLASSES_OF = {"own": "the detector's class scores", "truth": "first true class (upper bound)"}
_TOP_1_OF = {
    "video": "Per video: top-1 is the share of videos whose best class is a true one; the upper bound gives detections "
    "the true classes of their video.",
    "segment": "Per segment: top-1 is the share of true actions whose class is the best in their segment; the upper "
    "bound gives each detection the class of the true action that it overlaps most.",
}
_WIDTH, _NUMBER_WIDTH, _NAME_WIDTH = 80, 9, 12  # of a terminal, a column of numbers, and at least one of names


def map_table(runs: Sequence[Results], groups: Sequence[SeedGroup] = (), *, with_cautions: bool = True) -> Table:
    """mAP per tIoU and its average, each with its interval; the best is marked if data, protocol and tIoUs are shared.

    Runs of a group are one row, the mean over their seeds, with the runs below it. Results on videos that a run was
    trained on are never the best.
    """
    names, known = run_names(runs), published.all_of(runs)
    tious, entries = compared_entries(runs, groups)

    def lines_of(run: Results) -> list[list[str]]:
        texts = map_rows.interval_texts(run, tious)
        return [[map_rows.INTERVAL, *texts, *[""] * bool(known)]] if texts else []

    rows = []
    for entry, shown in entries:
        rows.append([Cell(entry.name), *shown, *[Cell(map_rows.above_published(entry, runs))] * bool(known)])
        for place in entry.places:
            if len(entry.places) > 1:
                single = [*map(percent, map_rows.values_of(runs[place], tious))]
                above = [published.above(runs[place])] * bool(known)
                rows.append([*map(Cell, [names[place], *single, *above])])
            rows += [[*map(Cell, line)] for line in lines_of(runs[place])]
    rows += [published.map_row(figures, tious) for figures in known]
    cautions = [f"{name}: {caution}" for name, run in zip(names, runs, strict=True) for caution in run.cautions()]
    return Table(
        title="mAP in percent at temporal IoU",
        columns=["run", *(threshold(tiou) for tiou in tious), "average", *([published.DIFFERENCE] if known else [])],
        num_names=1,
        rows=rows,
        caption=[provenance(run, name) for name, run in zip(names, runs, strict=True)]
        + map_rows.interval_captions(runs, names)
        + [published.caption(figures) for figures in known]
        + [line for name, run in zip(names, runs, strict=True) for line in published.not_compared(run, name)]
        + warning(runs)
        + cautions * with_cautions,
    )


def compared_entries(
    runs: Sequence[Results], groups: Sequence[SeedGroup] = ()
) -> tuple[list[float], list[tuple[map_rows.Entry, list[Cell]]]]:
    """The tIoUs of all runs, and each row with its cells; a mean over seeds competes for the best as one."""
    numbers = [by_tiou(run.tious, run.mean_ap) for run in runs]
    tious = sorted({tiou for one in numbers for tiou in one})
    values = [map_rows.values_of(run, tious) for run in runs]
    entries, fair = map_rows.entries(values, run_names(runs), groups), _fair(runs)
    mark = are_comparable(runs)
    marks = [*(mark and all(tiou in one for one in numbers) for tiou in tious), mark and share_tious(runs)]
    are_fair = [all(fair[place] for place in entry.places) for entry in entries]
    columns = [cells([one.values[place] for one in entries], marks[place], are_fair) for place in range(len(marks))]
    rows = zip(*columns, strict=True)
    shown = [
        [replace(cell, text=entry.text(place)) for place, cell in enumerate(row)]
        for entry, row in zip(entries, rows, strict=True)
    ]
    return tious, list(zip(entries, shown, strict=True))


def more_tables(runs: Sequence[Results]) -> list[Table]:
    """Tables of what only some runs measure: Recall@kx, AR@N, and how good the class scores are by themselves."""
    measured = (
        (recall_table, [run for run in runs if run.recall]),
        (proposals_table, [run for run in runs if run.proposals]),
        (classifier_table, [run for run in runs if run.classifier]),
    )
    return [table(own) for table, own in measured if own]


def recall_table(runs: Sequence[Results]) -> Table:
    """Recall@kx per tIoU and on average, with one row for each run and k."""
    names = run_names(runs)
    return _by_tiou_table(
        "Recall@kx in percent: recall of the best k * n predictions",
        ["run", "measure"],
        [
            ([name, f"Recall@{multiple}x"], run.tious, row)
            for name, run in zip(names, runs, strict=True)
            for multiple, row in zip(run.recall_multiples, run.recall, strict=True)
        ],
    )


def proposals_table(runs: Sequence[Results]) -> Table:
    """Recall of the best N segments of a video per tIoU and on average, with one row for each run and N, and AUC."""
    names = run_names(runs)
    table = _by_tiou_table(
        "AR@N in percent: recall of the best N segments of a video, whatever their classes",
        ["run", "measure"],
        [
            ([name, measure], run.tious, row)
            for name, run in zip(names, runs, strict=True)
            if run.proposals
            for measure, row in run.proposals.rows()
        ],
    )
    return replace(table, caption=["AUC is the area under AR@N from 1 to the largest N, divided by that N."])


def classifier_table(runs: Sequence[Results]) -> Table:
    """mAP with the classifier's classes and with true classes, and how often the classifier by itself is right."""
    rows = []
    for name, run in zip(distinct_names(runs), runs, strict=True):
        if run.classifier is not None:
            about = run.classifier
            file = _CLASSES_OF.get(about.file, about.file) if about.form is None else about.file
            classes = "own classes kept" if about.labels == "keep" else f"top {about.top_k}"
            text = f"{file}, {about.rule}, {classes}"
            per, bound = f"per {about.per}", "true classes (upper bound)"
            rows.append(([name, text, per, percent(about.top_1)], run.tious, run.mean_ap))
            rows.append(([name, bound, per, percent(1.0)], run.tious, about.true_class_mean_ap))
    table = _by_tiou_table("mAP in percent by source of classes", ["run", "classes", "scores", "top-1"], rows)
    units = {run.classifier.per for run in runs if run.classifier}
    return replace(table, num_names=3, caption=[_TOP_1_OF[unit] for unit in sorted(units, reverse=True)])


def _by_tiou_table(
    title: str, names: list[str], rows: Sequence[tuple[list[str], Sequence[float], Sequence[float | None]]]
) -> Table:
    tious = sorted({tiou for _, measured, values in rows for tiou in by_tiou(measured, values)})
    return Table(
        title=title,
        columns=[*names, *(threshold(tiou) for tiou in tious), "average"],
        num_names=len(names),
        rows=[
            [
                *map(Cell, texts),
                *cells([*(by_tiou(measured, values).get(tiou) for tiou in tious), mean(values)], mark=False),
            ]
            for texts, measured, values in rows
        ],
        caption=[],
    )


def class_table(run: Results) -> Table:
    """AP of each class per tIoU and on average, best class first; classes that were not measured come last."""
    averages = [mean(row) for row in run.class_ap]
    order = sorted(
        range(len(averages)), key=lambda place: (averages[place] is not None, averages[place] or 0.0), reverse=True
    )
    return Table(
        title=f"AP in percent per class, {run.name}",
        columns=["class", "actions", *(threshold(tiou) for tiou in run.tious), "average"],
        num_names=1,
        rows=[
            [
                Cell(run.classes[place]),
                Cell(str(run.truth_per_class[place])),
                *cells([*run.class_ap[place], averages[place]], mark=False),
            ]
            for place in order
        ],
        caption=[],
    )


def class_comparison(runs: Sequence[Results], names: Sequence[str] = ()) -> Table:
    """Average AP of each class in each run, the best marked; a dash if a run does not know the class.

    `names` are those of the columns, if not the runs' own.
    """
    by_run = [dict(zip(run.classes, map(mean, run.class_ap), strict=True)) for run in runs]
    labels = dict.fromkeys(label for averages in by_run for label in averages)
    mark, fair = are_comparable(runs) and share_tious(runs), _fair(runs)
    return Table(
        title="Average AP in percent per class",
        columns=["class", *(names or run_names(runs))],
        num_names=1,
        rows=[[Cell(label), *cells([averages.get(label) for averages in by_run], mark, fair)] for label in labels],
        caption=warning(runs),
    )


def are_comparable(runs: Sequence[Results]) -> bool:
    """Whether all runs were measured on the same data under the same protocol, and all or none with true classes."""
    first = runs[0]
    return all(_measured_on(run) == _measured_on(first) and run.videos == first.videos for run in runs[1:])


def _measured_on(run: Results) -> tuple[object, ...]:
    return run.dataset, run.variant, run.subset, run.counts.videos, run.protocol, is_upper_bound(run)


def share_tious(runs: Sequence[Results]) -> bool:
    """Whether averages over tIoUs are of the same tIoUs."""
    return len({tuple(by_tiou(run.tious, run.mean_ap)) for run in runs}) == 1


def _fair(runs: Sequence[ResultsHead]) -> list[bool]:
    """For each run whether it may be the best: not where it was trained on videos that it was scored on."""
    return [not run.is_measured_on_training_videos() for run in runs]


def run_names(runs: Sequence[Results]) -> list[str]:
    """The names of the runs, followed by what tells them apart, and by what is no result."""
    return [
        f"{name}, {_UPPER_BOUND}" if is_upper_bound(run) else name
        for name, run in zip(distinct_names(runs), runs, strict=True)
    ]


def distinct_names(runs: Sequence[ResultsHead]) -> list[str]:
    """The names of the runs, each with the settings that are not its own and with what must be known of its numbers.

    Runs of one name are labelled by what differs first: the subset, the weights, the checkpoint, the seed, the time.
    """
    names = [
        ", ".join([run.name, *([settings_text(run.changed)] if run.changed else []), *run.notes()]) for run in runs
    ]
    facts: list[Callable[[ResultsHead], str]] = [
        lambda run: run.subset,
        lambda run: run.variant,
        lambda run: f"{run.weights} weights" if run.weights else "",
        lambda run: run.checkpoint,
        lambda run: "" if run.seed is None else f"seed {run.seed}",
        lambda run: run.created,
    ]
    for fact in facts:
        values: dict[str, set[str]] = {}
        for name, run in zip(names, runs, strict=True):
            values.setdefault(name, set()).add(fact(run))
        names = [
            f"{name}, {fact(run)}" if len(values[name]) > 1 and fact(run) else name
            for name, run in zip(names, runs, strict=True)
        ]
    return [
        f"{name}, {names[: place + 1].count(name)}" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def settings_text(settings: Mapping[str, object]) -> str:
    """Settings as they are typed, without the folders of files: `evaluation.tious=[0.5], fusion.scores=scores.json`."""

    def shown(value: object) -> str:
        if isinstance(value, str):
            return value.rpartition("/")[2]
        return f"{value:g}" if isinstance(value, float) else json.dumps(value)

    return ", ".join(f"{key}={shown(value)}" for key, value in sorted(settings.items()))


def is_upper_bound(run: Results) -> bool:
    """Whether the run was scored with the true classes of its videos: the best that a classifier could do."""
    return run.classifier is not None and run.classifier.is_upper_bound


def provenance(run: Results, name: str) -> str:
    """Where the numbers of a run, which is shown by this name, come from, in one line."""
    return f"{name}: {scored_data(run)}; {run.protocol}; {origin(run)}"


def provenance_of_all(runs: Sequence[Results]) -> str:
    """The data, the protocol and the commit of several runs, each once."""
    data = "; ".join(dict.fromkeys(scored_data(run) for run in runs))
    protocols = ", ".join(dict.fromkeys(run.protocol for run in runs))
    return f"{data}; protocol {protocols}; {', '.join(dict.fromkeys(commit_text(run) for run in runs))}"


def commit_text(run: ResultsHead) -> str:
    """`commit 0123456789ab`."""
    number, plus, changes = (run.commit or "").partition("+")  # 0123456789ab+changes
    return f"commit {number[:12]}{plus}{changes}" if number else "commit unknown"


def origin(run: ResultsHead) -> str:
    """The seed, the commit and the machine."""
    seed = "no seed" if run.seed is None else f"seed {run.seed}"
    return f"{seed}, {commit_text(run)}; {run.machine}"


def scored_data(run: Results) -> str:
    """The dataset, which of its variants, the subset and its number of videos: `thumos14 test, test set 212, ...`."""
    parts = [f"{run.dataset} {run.subset}", run.variant, console.count(run.counts.videos, "video")]
    return ", ".join(part for part in parts if part)


def warning(runs: Sequence[Results]) -> list[str]:
    """Why the best of the runs is not marked, or not everywhere."""
    if are_comparable(runs):
        text = "The averages are over different tIoUs, so they cannot be compared and the best is not marked."
        return [] if share_tious(runs) else [text]
    differ = "data, protocol or use of true classes" if any(map(is_upper_bound, runs)) else "data or protocol"
    return [f"The runs differ in {differ}, so the best is not marked.", *_of_other_videos(runs)]


def _of_other_videos(runs: Sequence[Results]) -> list[str]:
    """How the videos and labels of runs differ from those of the first, where a subset of one name has changed."""
    names, first = distinct_names(runs), runs[0]
    lines = []
    for name, run in zip(names[1:], runs[1:], strict=True):
        if (run.dataset, run.variant, run.subset) != (first.dataset, first.variant, first.subset):
            continue
        before, now = ({video.id: video for video in one.videos} for one in (first, run))
        found = {
            "only there": sorted(now.keys() - before.keys()),
            f"only in {names[0]}": sorted(before.keys() - now.keys()),
            "with other labels": sorted(id_ for id_ in before.keys() & now.keys() if before[id_] != now[id_]),
        }
        parts = [
            f"{console.count(len(ids), 'video')} {what} ({console.first_ten(ids)})"
            for what, ids in found.items()
            if ids
        ]
        if parts:
            lines.append(
                f"{name} was scored on other videos or labels of {run.subset} than {names[0]}: {', '.join(parts)}. "
                "To compare them, score both on the same annotations: actloc eval RUN"
            )
    return lines


def transposed(table: Table) -> Table:
    """The transposed table: its columns of numbers as rows, and its rows as columns."""
    places = range(table.num_names, len(table.columns))
    return Table(
        title=table.title,
        columns=["", *("\n".join(cell.text for cell in row[: table.num_names]) for row in table.rows)],
        num_names=1,
        rows=[[Cell(table.columns[place]), *(row[place] for row in table.rows)] for place in places],
        caption=table.caption,
    )


def as_rich(table: Table) -> RichTable:
    """The table for the terminal; shows foreign text as it is, and transposes a table too wide for 80 characters."""
    numbers = len(table.columns) - table.num_names
    longest = max((len(cell.text) for row in table.rows for cell in row[table.num_names :]), default=0)
    is_wide = numbers * max(_NUMBER_WIDTH, longest + 3) + table.num_names * _NAME_WIDTH > _WIDTH
    if is_wide and len(table.rows) <= _WIDTH // _NAME_WIDTH:
        table = transposed(table)
    rich = RichTable(title=_shown(table.title), caption=_shown("\n".join(table.caption)), caption_justify="left")
    for place, name in enumerate(table.columns):
        is_text = place < table.num_names
        # long headers fold, numbers do not
        words = [word for row in table.rows for word in row[place].text.split()]
        widest = 0 if is_text else max(map(len, words), default=0)
        rich.add_column(_shown(name), justify="left" if is_text else "right", overflow="fold", min_width=widest)
    for row in table.rows:
        rich.add_row(*(_shown(cell.text, "bold" if cell.is_best else "") for cell in row))
    return rich


def _shown(text: str, style: str = "") -> Text:
    lines = "\n".join(one_line(line) for line in text.splitlines())
    # emoji=False: a class named :bomb: keeps its name
    return Text.from_markup(console.clean(lines), style=style, emoji=False)


def as_markdown(table: Table) -> str:
    """A Markdown table with the title above and the caption below; best values are bold."""
    rules = ["---" if place < table.num_names else "---:" for place in range(len(table.columns))]
    rows = [
        [f"**{markdown(cell.text)}**" if cell.is_best else markdown(cell.text) for cell in row] for row in table.rows
    ]
    lines = [f"| {' | '.join(row)} |" for row in [[markdown(name) for name in table.columns], rules, *rows]]
    caption = ["", *(f"- {markdown(line)}" for line in table.caption)] if table.caption else []
    return "\n".join([f"**{markdown(table.title)}**", "", *lines, *caption, ""])
