"""`actloc ls`: configs, recipes, parts and runs, one line each; never imports torch."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from actloc import console, experiment, files, recipes
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
        return [(str(folder), _score(folder)) for folder in experiment.runs(or_scored=True)]
    return list(parts.available(kind).items())


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _score(folder: Path) -> str:
    """The number that each scored subset is judged by, from the run's metrics."""
    scores = []
    for metrics in sorted(folder.glob("eval/*/metrics.json")):
        try:
            results = read_record(metrics, task_named(task_of_results(metrics.parent)).results)
            scores.append(f"{metrics.parent.name}: {', '.join([results.headline(), *results.notes()])}")
        except UserError:
            scores.append(f"{metrics.parent.name}: unreadable")
    return "; ".join(scores) or ", ".join(["not scored yet", *_progress(folder)])


def _progress(folder: Path) -> list[str]:
    """How far an unfinished run came."""
    steps = [path for path in folder.glob("ckpt_[0-9]*") if path.is_dir()]
    if not steps or (folder / "finished.json").is_file():
        return []
    newest = max(steps, key=lambda path: int(path.name.removeprefix("ckpt_")))
    step = int(newest.name.removeprefix("ckpt_"))
    try:
        of = files.read_json(newest / "state.json").get("num_steps")
    except (UserError, AttributeError):
        of = None
    return [f"stopped at {step} of {of}" if of else f"stopped at step {step}"]
