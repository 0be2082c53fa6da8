"""Recipes of feature sets: `recipe: tsp_anet` in an experiment replaces all settings for how its features are made.

A recipe is a YAML file in configs/features with the blocks `encoder` and `features`. In a settings file, it supplies
what the file leaves out. On the command line, it overrides the file, and settings of the file that its source of
features does not have are dropped. `encoder.` and `features.` settings on the command line override both.
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
    """The recipes in ./configs/features, and those shipped with the package under other names."""
    package = Path(__file__).parent
    folders = (Path("configs"), package / "shipped_configs", package.parent / "configs")
    by_name: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / _FOLDER).glob("*.yaml")):
            by_name.setdefault(path.stem, path)
    return [by_name[name] for name in sorted(by_name)]


def apply(document: SettingsDocument) -> None:
    """Merges the recipe that the settings name into their blocks; raises UserError if there is no such recipe."""
    named = document.data.pop("recipe", None)
    if named is None:
        return
    file = _find(str(named))
    recipe = yaml_text.read(file, [])
    document.problems += recipe.problems
    overrides = document.lines.get(("recipe",)) == COMMAND_LINE
    for block in _BLOCKS:
        written = document.data.get(block) or {}
        if not isinstance(written, dict):
            continue  # reported where blocks are checked
        given = recipe.data.get(block) or {}
        commanded = {key: written[key] for key in written if document.lines.get((block, key)) == COMMAND_LINE}
        if block == "features":
            dataset = document.data.get("dataset")
            folder = dataset.get("folder") if isinstance(dataset, dict) else None
            given = {**given, "path": str(Path(str(folder or "data")) / file.stem)}
        if not overrides:
            merged = {**given, **written}
        elif block == "features":
            # settings that the file's source of features has, and the recipe's does not, no longer apply
            dropped = _settings_of(written.get("name")) - _settings_of(given.get("name"))
            merged = {**{key: value for key, value in written.items() if key not in dropped}, **given}
        else:
            merged = given
        document.data[block] = {**merged, **commanded}


def _settings_of(source: Any) -> set[str]:  # Any: a YAML value
    try:
        return set(parts.find("sources", str(source)).Config.model_fields)
    except ValueError:
        return set()  # reported where the block is checked


def _find(name: str) -> Path:
    if Path(name).is_file():
        return Path(name)
    known = {path.stem: path for path in available()}
    if name in known:
        return known[name]
    raise UserError(
        f"There is no recipe {name}{console.nearest(name, known)}",
        f"Expected a YAML file, or one of {', '.join(known)}.",
        "List the recipes: actloc ls recipes",
    )
