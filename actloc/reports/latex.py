r"""Tables of results for a paper, in LaTeX with the rules of the package booktabs; needs `\usepackage{booktabs}`."""

from collections.abc import Sequence

from actloc.evaluation.results import Results
from actloc.reports import map_rows, published
from actloc.reports.cells import Cell, Table
from actloc.reports.runs import Evaluation
from actloc.reports.seeds import seeds_of
from actloc.reports.tables import compared_entries, provenance_of_all, run_names, warning
from actloc.reports.text import UNMEASURED, one_line, threshold

_SPECIAL = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    UNMEASURED: "--",
}
_PUBLISHED = r"$^{\dagger}$"


def escaped(text: object) -> str:
    """Text that LaTeX shows as it is, on one line; only the sign ± and the dash become commands."""
    return "".join(_SPECIAL.get(letter, letter) for letter in one_line(text))


def map_latex(evaluations: Sequence[Evaluation]) -> str:
    """mAP per tIoU and its average: runs and means over seeds, the best in bold, then what was published."""
    runs = [one.results for one in evaluations]
    groups = seeds_of(evaluations).groups()
    tious, entries = compared_entries(runs, groups)
    rows = []
    for entry, cells in entries:
        rows.append([escaped(entry.name), *map(_number, cells)])
        if len(entry.places) == 1:
            run = runs[entry.places[0]]
            ends = map_rows.interval_texts(run, tious)
            small = [f"{{\\footnotesize {escaped(end.replace(' to ', UNMEASURED))}}}" for end in ends]
            rows += [[f"\\quad {{\\footnotesize {escaped(map_rows.INTERVAL)}}}", *small]] if ends else []
    known = [figures for figures in published.all_of(runs) if figures.map or figures.average is not None]
    theirs = [
        [f"{escaped(published.row_name(figures))}{_PUBLISHED}", *(escaped(cell.text) for cell in row[1:-1])]
        for figures in known
        for row in [published.map_row(figures, tious)]
    ]
    return _table(
        ["", *map(threshold, tious), "Average"],
        1,
        [rows, theirs],
        _caption(runs, groups, known),
        [f"{name}: {line}" for name, run in zip(run_names(runs), runs, strict=True) for line in run.cautions()],
    )


def _caption(runs: Sequence[Results], groups: Sequence[map_rows.SeedGroup], known: Sequence[object]) -> str:
    lines = [f"mAP in percent at temporal IoU. {provenance_of_all(runs)}."]
    merged = {place for group in groups for place in group.places}
    single = [place for place in range(len(runs)) if place not in merged]
    names = run_names(runs)
    lines += map_rows.interval_captions([runs[place] for place in single], [names[place] for place in single])
    lines += [f"{group.caption}." for group in groups] + warning(runs)
    return " ".join([escaped(" ".join(lines)), *[f"{_PUBLISHED}Published, not measured here."] * bool(known)])


def table_latex(table: Table, num_measured: int, caption: str) -> str:
    """Any table of results: its first `num_measured` rows were measured, the others are published."""
    rows = [
        [*(escaped(cell.text) for cell in row[: table.num_names]), *map(_number, row[table.num_names :])]
        for row in table.rows
    ]
    theirs = [[f"{row[0]}{_PUBLISHED}", *row[1:]] for row in rows[num_measured:]]
    note = [f"{_PUBLISHED}Published, not measured here."] * bool(theirs)
    blocks = [rows[:num_measured], theirs]
    return _table(table.columns, table.num_names, blocks, " ".join([escaped(caption), *note]), [])


def _number(cell: Cell) -> str:
    return f"\\textbf{{{escaped(cell.text)}}}" if cell.is_best else escaped(cell.text)


def _table(
    columns: Sequence[str], num_names: int, blocks: Sequence[list[list[str]]], caption: str, comments: Sequence[str]
) -> str:
    """`blocks` are rows of escaped cells, with a rule between two blocks; `comments` are for whoever edits the file."""
    bodies = ["\n".join(f"{' & '.join(row)} \\\\" for row in block) for block in blocks if block]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            *(f"% {one_line(comment)}" for comment in comments),
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{caption}}}",
            f"\\begin{{tabular}}{{{'l' * num_names}{'r' * (len(columns) - num_names)}}}",
            r"\toprule",
            f"{' & '.join(map(escaped, columns))} \\\\",
            r"\midrule",
            "\n\\midrule\n".join(bodies),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )
