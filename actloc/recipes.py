"""Recipes of feature sets: `recipe: tsp_anet` in an experiment replaces all settings for how its features are made.

A recipe is a YAML file in configs/features with the block `features`, which has an encoder. In a settings file, it
supplies what the file leaves out. On the command line, it overrides the file, and settings of the file that its source
of features does not have are dropped. `features.` settings on the command line override both.
"""

from pathlib import Path
from typing import Any

from actloc import console
from actloc.errors import UserError
from actloc.settings import parts, yaml_text
from actloc.settings.yaml_text import COMMAND_LINE, KeyPath, SettingsDocument

_FOLDER = "features"


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
    dataset, given = document.data.get("dataset"), recipe.data.get("features") or {}
    folder = dataset.get("folder") if isinstance(dataset, dict) else None
    given = {**given, "path": str(Path(str(folder or "data")) / file.stem)}
    written = document.data.get("features") or {}
    if not isinstance(written, dict):
        return  # reported where blocks are checked
    # the encoder is a block of its own kind, merged setting by setting like the outer one
    inner, inner_given = written.get("encoder") or {}, given.get("encoder") or {}
    if document.lines.get(("recipe",)) == COMMAND_LINE:
        # settings that the file's source of features has, and the recipe's does not, no longer apply
        dropped = _settings_of(written.get("name")) - _settings_of(given.get("name"))
        merged = {**{key: value for key, value in written.items() if key not in dropped}, **given}
        own: dict[str, Any] = {}
    else:
        merged, own = {**given, **written}, inner
    document.data["features"] = merged | _commanded(document, written, ("features",)) | {"encoder": inner}
    if isinstance(inner, dict):  # otherwise it is reported where blocks are checked
        encoder = {**inner_given, **own, **_commanded(document, inner, ("features", "encoder"))}
        document.data["features"]["encoder"] = encoder or None


def _commanded(document: SettingsDocument, block: dict[str, Any], path: KeyPath) -> dict[str, Any]:
    """The settings of a block that the command line sets."""
    return {key: value for key, value in block.items() if document.lines.get((*path, key)) == COMMAND_LINE}


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
