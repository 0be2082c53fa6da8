"""Floors, sizes and the three parts of every error, checked on the source text."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path("actloc")
FLOORS = [
    {"errors", "fault_injection", "console"},
    {"files"},
    {"damage", "signals", "settings", "structures", "prefetch"},
    {"devices", "provenance", "annotations", "layers", "recipes", "weights"},
    {"ops", "video", "annotation_forms", "raft_flow"},
    {"store", "encoders", "detectors"},
    {"end_to_end"},
    {"datasets", "sources"},
    {"experiment", "extraction", "evaluation", "training"},
    {"reports", "prediction_forms", "diagnosis"},
    {"runs"},
    {"prediction"},
    {"viewer"},
    {"localization", "recognition"},
    {"tasks"},
    {"commands"},
    {"command_line"},
    {"cli"},
    {"__main__"},
]
"""From the ground up. A module imports its own folder and lower floors, never a neighbour on its own floor."""
PARTS = ("detectors", "encoders", "datasets", "sources", "tasks", "annotation_forms", "prediction_forms")
"""Folders of choices: every file or folder in them, but `base.py` and its like, stands alone."""
NETWORKS = (".network", ".source", "_network", "_source")
"""What the name of the module of settings is followed by in that of its network, which only methods import."""
FRONT_DOOR = "actloc"
"""`actloc.load` and `actloc.evaluate` open on modules far above; nothing else imports upwards."""
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = {".".join(module.with_suffix("").parts).removesuffix(".__init__"): module for module in MODULES}
LONGEST_FILE, LONGEST_FUNCTION, MOST_LOOSE_MODULES = 400, 60, 14


def room(name: str) -> str:
    return name.split(".")[1]


def floor_of(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(name) in rooms)


def part_of(name: str) -> str:
    """The file or folder of a part; empty for the folder of all."""
    return ".".join(name.split(".")[2:3])


def is_base(name: str) -> bool:
    return part_of(name).startswith("base")


def imported(name: str) -> set[str]:
    """The modules of actloc that a module imports anywhere, also inside functions and for the type checker alone."""
    found = set()
    for node in ast.walk(ast.parse(NAMES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module in NAMES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in NAMES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in NAMES}
    return found - {name, FRONT_DOOR}  # `from actloc import __version__` goes nowhere


@pytest.mark.parametrize("name", sorted(NAMES.keys() - {FRONT_DOOR}))
def test_a_module_imports_its_own_folder_and_lower_floors_only(name: str) -> None:
    for other in imported(name):
        if room(other) != room(name):
            assert floor_of(other) < floor_of(name), f"{name} imports {other}, which is not below it"
        elif room(name) in PARTS and not is_base(name) and part_of(other) != part_of(name):
            assert is_base(other), f"{name} imports another part: {other}"


def test_the_front_door_opens_on_what_python_code_calls() -> None:
    used = {"tasks", "prediction", "evaluation", "settings"}  # all but the first for types, or within functions
    assert {room(other) for other in imported(FRONT_DOOR)} == used


def test_no_imports_run_in_a_circle() -> None:
    state: dict[str, str] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        state[name] = "open"
        # settings build their network, and read nothing of its module before that
        for other in imported(name) - {name + end for end in NETWORKS if room(name) in PARTS}:
            assert state.get(other) != "open", f"a circle: {' -> '.join((*path, name, other))}"
            if other not in state:
                visit(other, (*path, name))
        state[name] = "done"

    for name in NAMES.keys() - {FRONT_DOOR}:
        if name not in state:
            visit(name, ())


def test_settings_import_their_network_in_methods_only() -> None:
    """Which is why their circle does no harm, and why settings are checked without torch."""
    pairs = [(name, name + end) for name in NAMES for end in NETWORKS if name.count(".") > 1 and room(name) in PARTS]
    pairs = [(name, network) for name, network in pairs if network in NAMES]
    assert len(pairs) > 10
    for name, network in pairs:
        at_once = [node for node in ast.parse(NAMES[name].read_text()).body if isinstance(node, ast.ImportFrom)]
        assert all(node.module != network for node in at_once), f"{name} imports {network} as it is imported itself"


def test_few_modules_lie_loose_at_the_top() -> None:
    loose = [path.name for path in PACKAGE.glob("*.py") if path.stem not in ("__init__", "__main__")]
    assert len(loose) <= MOST_LOOSE_MODULES, loose


def test_settings_as_a_whole_stop_at_commands_and_runs() -> None:
    users = {room(name) for name in NAMES if name != FRONT_DOOR and "actloc.experiment" in imported(name)}
    assert users <= {"commands", "tasks", "localization", "recognition", "runs", "cli", "command_line"}, (
        "below, pass the sections that are needed"
    )


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
def test_every_error_says_what_was_found_what_was_expected_and_what_to_do(place: str, call: ast.Call) -> None:
    assert len(call.args) == 3, f"{place}: found, expected, fix"
    for part in call.args:
        assert not (isinstance(part, ast.Constant) and not part.value), f"{place}: an empty part"


def test_the_top_level_is_what_was_agreed() -> None:
    import subprocess

    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
    top = {Path(name).parts[0] for name in listed if not name.startswith(".")}
    assert top <= {"pyproject.toml", "README.md", "LICENSE", "actloc", "configs", "scripts", "tests", "data", "ckpt"}
