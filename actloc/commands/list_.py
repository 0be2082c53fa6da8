"""`actloc ls`: configs, recipes, parts and runs, one line each; never imports torch."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from actloc import console, experiment, recipes
from actloc.errors import UserError
from actloc.evaluation.results import read_record, task_of_results
from actloc.settings import parts
from actloc.tasks.base import task_named

KINDS = ("configs", "recipes", *parts.KINDS, "runs")
"""What there is to list."""


def run(what: str | None, code: Sequence[Path] = ()) -> int:
    """Prints one kind, or all of them; with the parts in the user's own `code`."""
    parts.use_code(code)
    if what is not None and what not in KINDS:
        near = difflib.get_close_matches(what, KINDS, n=1)
        raise UserError(
            f"actloc cannot list {what!r}.",
            f"Expected one of {', '.join(KINDS)}.",
            f"Run: actloc ls {near[0]}" if near else "Run: actloc ls",
        )
    for kind in [what] if what else KINDS:
        rows = _rows(kind)
        table = Table("name", "what it is", title=f"{kind} ({len(rows)})", title_justify="left", box=None)
        for name, meaning in rows:
            table.add_row(console.clean(name), console.clean(meaning))
            console.emit("item", kind=kind, name=name, meaning=meaning)
        console.result_table(table)
        console.result("")
    return 0


def _rows(kind: str) -> list[tuple[str, str]]:
    if kind == "configs":
        return [(path.stem, _first_comment(path)) for path in experiment.configs()]
    if kind == "recipes":
        return [(path.stem, _first_comment(path)) for path in recipes.available()]
    if kind == "runs":
        return [(str(folder), _score(folder)) for folder in experiment.runs()]
    return list(parts.available(kind).items())


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _score(folder: Path) -> str:
    """The number that each scored subset is judged by, from the run's metrics."""
    scores = []
    for metrics in sorted(folder.glob("eval/*/metrics.json")):
        try:
            form = task_named(task_of_results(metrics.parent)).results
            scores.append(f"{metrics.parent.name}: {read_record(metrics, form).headline()}")
        except UserError:
            scores.append(f"{metrics.parent.name}: unreadable")
    return ", ".join(scores) or "not scored yet"
