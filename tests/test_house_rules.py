"""Floors, sizes and the three parts of every error, checked on the source text."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path("actloc")
FLOORS = [
    {"errors", "faults", "__init__"},
    {"files", "config", "console", "signals", "parts", "settings_file", "provenance"},
    {"structures", "annotations", "raw_forms"},
    {"layers", "ops", "video", "weights", "caffe2_weights"},
    {"store", "stored_file", "feature_files", "feature_writer"},
    {"detectors", "encoders", "datasets", "published_weights", "learned_flow"},
    {"sources", "training", "evaluation", "reports", "experiment", "recipes"},
    {"tasks"},
    {"commands"},
    {"cli", "running", "__main__"},
]
PARTS = ("detectors", "encoders", "datasets", "sources")
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def floor_of(name: str) -> int:
    return next(number for number, names in enumerate(FLOORS) if name in names)


def room(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> list[str]:
    """Dotted names below actloc that a module imports anywhere but for the type checker."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "actloc":
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name.removeprefix("actloc.") for name in names]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_lower_floors_only(module: Path) -> None:
    here = room(module)
    if here == "__init__":
        return  # the front door, actloc.load, opens on what lies above
    for name in imported(ast.parse(module.read_text())):
        there = name.partition(".")[0]
        if there == "__version__" or ((PACKAGE / f"{there}.py").exists() is False and not (PACKAGE / there).is_dir()):
            continue
        assert there == here or floor_of(there) <= floor_of(here), f"{module} imports {name} from above"
        if here in PARTS and there == here and module.stem != "base":
            assert name.split(".")[1] == "base", f"{module} imports another part: {name}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_files_and_functions_stay_short(module: Path) -> None:
    text = module.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{module}:{node.lineno} {node.name} has {length} lines"


def errors_raised() -> list[tuple[str, ast.Call]]:
    found = []
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if name in ("UserError", "EnvironmentProblem", "NotFiniteError"):
                assert isinstance(node, ast.Call)
                found.append((f"{module}:{node.lineno}", node))
    return found


@pytest.mark.parametrize(("place", "call"), errors_raised(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_error_says_what_was_found_expected_and_what_mends_it(place: str, call: ast.Call) -> None:
    assert len(call.args) == 3, f"{place}: found, expected, mend"
    for part in call.args:
        assert not (isinstance(part, ast.Constant) and not part.value), f"{place}: an empty part"


def test_the_top_level_is_what_was_agreed() -> None:
    import subprocess

    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
    top = {Path(name).parts[0] for name in listed if not name.startswith(".")}
    assert top <= {"pyproject.toml", "README.md", "LICENSE", "actloc", "configs", "scripts", "tests", "data", "ckpt"}
