"""`actloc compare STORE STORE`: compares the settings and the features of two feature stores."""

import csv
import io
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from actloc import console, files
from actloc.errors import UserError
from actloc.experiment import is_run
from actloc.reports import outputs
from actloc.settings.sameness import differences
from actloc.store.comparing import Comparison, compare
from actloc.store.store import IMPORTED, FeatureStore

_SHOWN = 20
_QUANTILES = (0, 5, 25, 50, 75, 95, 100)


def run(first: Path, second: Path, *, most_shift_s: float, output: Path | None, overwrite: bool = False) -> int:
    """Prints what differs; raises UserError where the stores share no video."""
    if is_run(first) and is_run(second):
        raise UserError(
            f"{first} and {second} are runs.",
            "Expected feature stores: `compare` compares features, `report` compares runs.",
            f"Run: actloc report {shlex.join([str(first), str(second)])}",
        )
    stores = _store(first), _store(second)
    recipes = [store.recipe() or {} for store in stores]
    for line in _differences(recipes, (first, second)):
        console.result(line)
    ids = [set(store.ids()) for store in stores]
    for store, alone in zip(stores, (ids[0] - ids[1], ids[1] - ids[0]), strict=True):
        if alone:
            console.say(
                f"Only in {store.folder}: {console.count(len(alone), 'video')}, {console.first_ten(sorted(alone))}"
            )
    shared = sorted(ids[0] & ids[1])
    if not shared:
        raise UserError(
            f"{first} and {second} share no video.",
            "Expected features of the same videos in both.",
            f"List their files: ls {shlex.join([str(first), str(second)])}",
        )
    if output is not None:
        outputs.refuse_others([output], overwrite=overwrite)
    with console.progress("comparing", len(shared)) as bar:
        found = compare(*stores, shared, most_shift_s, lambda video_id: bar(1, video_id))
    console.result_table(_videos_table(found))
    console.result_table(_dimensions_table(found))
    console.emit("done", videos=len(shared), cosine=found.cosine, quantiles=_quantiles(found), least=_least(found))
    if output is not None:
        with outputs.recording([output]):
            _write_dimensions(output, found)
        console.say(f"Wrote {output}: the correlation of every dimension")
    return 0


def _differences(recipes: list[dict[str, Any]], folders: tuple[Path, Path]) -> list[str]:  # Any: JSON values
    """The settings in which the stores differ; of imported features, only the grid is known."""
    imported = [recipe.get(IMPORTED) for recipe in recipes]
    notes = [f"{folder} was imported: {made['recipe']}" for folder, made in zip(folders, imported, strict=True) if made]
    if len(notes) == 1:
        grids = [recipe["features"] for recipe in recipes]
        recipes = [{"features": {key: grid[key] for key in grids[0].keys() & grids[1].keys()}} for grid in grids]
    return notes + differences(recipes[0], recipes[1], *(f"in {folder}" for folder in folders))


def _store(folder: Path) -> FeatureStore:
    if not folder.is_dir():
        neighbours = [path.name for path in folder.parent.glob("*/")]
        raise UserError(
            f"{folder} is not a folder{console.nearest(folder.name, neighbours, lists_known=False)}",
            "Expected the folder of a feature store.",
            "Check the path; `features.path` of a config names its store: actloc show CONFIG",
        )
    store = FeatureStore(folder)
    if store.recipe() is None:
        raise UserError(
            f"{folder} is not a feature store.",
            "Expected a folder that extract-features or import-features wrote.",
            "Import other features into a store first: actloc import-features --help",
        )
    return store


def _videos_table(found: Comparison) -> Table:
    title = f"{console.count(len(found.videos), 'video')} in both"
    table = Table("video", "rows", "correlation", "best shift", "correlation there", title=title, box=None)
    # the videos that agree least come first: they show where the stores differ
    for video in sorted(found.videos, key=lambda video: -1 if video.correlation is None else video.correlation)[
        :_SHOWN
    ]:
        rows = " / ".join(map(str, dict.fromkeys(video.rows)))
        shift = f"{video.best_shift_s:+.3f} s"
        table.add_row(
            console.clean(video.video_id), rows, _number(video.correlation), shift, _number(video.best_correlation)
        )
    if len(found.videos) > _SHOWN:
        table.caption = f"the {_SHOWN} videos that agree least"
    return table


def _dimensions_table(found: Comparison) -> Table:
    table = Table("over all rows", "value", box=None)
    table.add_row("mean cosine of rows", _number(found.cosine))
    table.add_row("largest difference", f"{found.largest_difference:.6g}")
    for percent, value in zip(_QUANTILES, _quantiles(found), strict=True):
        table.add_row(f"correlation, {percent} % quantile", _number(value))
    constant = int(np.isnan(found.dimensions).sum())
    if constant:
        table.add_row("constant dimensions", str(constant))
    table.add_row("least correlated dimensions", ", ".join(map(str, _least(found))))
    return table


def _quantiles(found: Comparison) -> list[float | None]:
    known = found.dimensions[np.isfinite(found.dimensions)]
    return [float(value) for value in np.percentile(known, _QUANTILES)] if len(known) else [None] * len(_QUANTILES)


def _least(found: Comparison) -> list[int]:
    return [int(place) for place in np.argsort(found.dimensions)[:10] if np.isfinite(found.dimensions[place])]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"


def _write_dimensions(path: Path, found: Comparison) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dimension", "correlation"])
    writer.writerows((place, "" if np.isnan(value) else f"{value:.9g}") for place, value in enumerate(found.dimensions))
    files.write_text(path, text.getvalue())
