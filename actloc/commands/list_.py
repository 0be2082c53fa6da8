"""`actloc ls`: configs, recipes, parts and runs, one line each; never imports torch."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from actloc import console, experiment, recipes
from actloc.commands import list_runs
from actloc.errors import UserError
from actloc.settings import parts

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
        if kind == "runs":
            _list_runs()
        else:
            _list(kind)
        console.result("")
    return 0


def _list(kind: str) -> None:
    rows = _rows(kind)
    table = Table("name", "what it is", title=f"{kind} ({len(rows)})", title_justify="left", box=None)
    for name, meaning in rows:
        table.add_row(console.clean(name), console.clean(meaning))
        console.emit("item", kind=kind, name=name, meaning=meaning)
    console.result_table(table)


def _rows(kind: str) -> list[tuple[str, str]]:
    if kind == "configs":
        return [(path.stem, _first_comment(path)) for path in experiment.configs()]
    if kind == "recipes":
        return [(path.stem, _first_comment(path)) for path in recipes.available()]
    return list(parts.available(kind).items())


def _list_runs() -> None:
    """One row per run, the newest last: next to where the next command is typed."""
    rows = list_runs.listed(experiment.RUNS)
    names = ("run", "last work", "config", "data", "network", "progress", "result", "size")
    title = f"runs ({len(rows)})"
    table, lines = Table(*names, title=title, title_justify="left", box=None), [title]
    for row in rows:
        results = "; ".join(row.results) or "not scored yet"
        worked, size = f"{row.worked:%Y-%m-%d %H:%M}", f"{row.num_bytes / 1e6:.1f} MB"
        made_of = [str(row.facts.get("config", "")), row.data(), str(row.facts.get("network", ""))]
        table.add_row(*(console.clean(cell) for cell in (row.folder, worked, *made_of, row.progress, results, size)))
        lines += [f" {row.folder}", f"   {worked}, {row.progress}; {results}"]
        lines += [f"   {', '.join([*filter(None, made_of), size])}"]
        facts = {name: value for name, value in row.facts.items() if isinstance(value, str | int)}
        console.emit(
            "item",
            **facts,
            kind="runs",
            name=str(row.folder),
            meaning=f"{results}, {row.progress}",
            worked=row.worked.isoformat(timespec="seconds"),
            progress=row.progress,
            results=row.results,
            bytes=row.num_bytes,
            faults=row.faults,
        )
    console.result_table(table, otherwise=lines)
    for row in rows:
        for fault in row.faults:
            console.warn(f"{row.folder}: {fault}")


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
