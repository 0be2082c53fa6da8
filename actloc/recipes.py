"""Recipes of feature sets: `recipe: tsp_anet` in an experiment stands for all that says how its features are made.

A recipe is a YAML file in configs/features with blocks `encoder` and `features`. Written into a settings file, it
gives what the file leaves out; named on the command line, it goes before the file, of which what only another source
of features knows is then left out. Either way the command line's own `encoder.` and `features.` settings go before all.
"""

from pathlib import Path
from typing import Any

from actloc import console
from actloc.errors import UserError
from actloc.settings import parts, yaml_text
from actloc.settings.yaml_text import COMMAND_LINE, SettingsDocument

_FOLDER = "features"
_BLOCKS = ("encoder", "features")


def available() -> list[Path]:
    """The recipes in ./configs/features, then those shipped with the package that are not here."""
    package = Path(__file__).parent
    folders = (Path("configs"), package / "shipped_configs", package.parent / "configs")
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / _FOLDER).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return [found[name] for name in sorted(found)]


def apply(document: SettingsDocument) -> None:
    """Puts the blocks of the recipe that the settings name in their places; raises UserError if there is none."""
    named = document.data.pop("recipe", None)
    if named is None:
        return
    file = _find(str(named))
    recipe = yaml_text.read(file, [])
    document.problems += recipe.problems
    goes_first = document.lines.get(("recipe",)) == COMMAND_LINE
    for block in _BLOCKS:
        written = document.data.get(block) or {}
        if not isinstance(written, dict):
            continue  # told where blocks are checked
        given = recipe.data.get(block) or {}
        commanded = {key: written[key] for key in written if document.lines.get((block, key)) == COMMAND_LINE}
        if block == "features":
            given = {**given, "path": _store(document.data.get("dataset"), file.stem)}
            merged = {**_known_to(given, written), **given} if goes_first else {**given, **written}
        else:
            merged = dict(given) if goes_first else {**given, **written}
        document.data[block] = {**merged, **commanded}


def _known_to(given: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:  # Any: YAML values, not checked yet
    """What the file says of features, without what the recipe's source does not know and the file's does."""
    known = [_settings_of(block.get("name")) for block in (given, written)]
    return {key: value for key, value in written.items() if key not in known[1] - known[0]}


def _settings_of(source: Any) -> set[str]:  # Any: a YAML value
    try:
        return set(parts.find("sources", str(source)).Config.model_fields)
    except ValueError:
        return set()  # told where the block is checked


def _store(dataset: Any, name: str) -> str:  # Any: YAML values, not checked yet
    """Where the recipe's features of a data set lie, unless the settings say otherwise."""
    folder = dataset.get("folder") if isinstance(dataset, dict) else None
    return str(Path(str(folder or "data")) / name)


def _find(name: str) -> Path:
    if Path(name).is_file():
        return Path(name)
    known = {path.stem: path for path in available()}
    if name in known:
        return known[name]
    raise UserError(
        f"There is no recipe {name}{console.nearest(name, known)}",
        f"Expected a YAML file, or one of {', '.join(known)}.",
        "See what there is: actloc ls recipes",
    )
