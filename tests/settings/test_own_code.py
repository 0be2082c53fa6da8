"""Parts of the user's own: named by --code, by ACTLOC_CODE or by an installed package, and never by settings."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from actloc import experiment
from actloc.command_line.exit_status import finish
from actloc.errors import CodeError, UserError
from actloc.settings import code_files, own_code, parts
from actloc.settings.code_errors import code_error

CONFIG = str(Path("configs/sample_efficientnet_actionformer.yaml").resolve())
DETECTOR = """\
\"\"\"A detector of my own.\"\"\"

from actloc.detectors import actionformer


class Config(actionformer.Config):
    extra: int = 1
"""
ENCODER = DETECTOR.replace("actloc.detectors import actionformer", "actloc.encoders import color").replace(
    "actionformer.Config", "color.Config"
)


@pytest.fixture(autouse=True)
def nothing_in_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv("ACTLOC_CODE", raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    own_code.use(())
    parts._entry_points.cache_clear()


def write(name: str, text: str = DETECTOR) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def complaint(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        experiment.load(CONFIG, list(overrides))
    return str(caught.value)


def error_of(*code: str, detector: str = "mine") -> str:
    """What is said of a detector in `code` that fails."""
    parts.use_code(map(Path, code))
    with pytest.raises(CodeError) as caught:
        parts.find("detectors", detector)
    assert caught.value.status == 2
    assert "not in actloc" in str(caught.value)
    return str(caught.value)


def test_a_file_is_a_part_under_its_own_name() -> None:
    write("elsewhere/mine.py")
    parts.use_code([Path("elsewhere/mine.py")])
    loaded = experiment.load(CONFIG, ["detector.name=mine", "detector.extra=2"])
    assert loaded.detector.name == "mine"
    assert loaded.detector.model_dump()["extra"] == 2
    assert parts.available("detectors")["mine"] == "A detector of my own."
    assert "mine" not in parts.available("encoders")
    assert loaded.arguments.endswith("--code elsewhere/mine.py")
    assert not list(Path("elsewhere").glob("__pycache__"))


def test_the_environment_variable_names_code_for_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    write("one/mine.py")
    write("other/wide.py", ENCODER)
    monkeypatch.setenv("ACTLOC_CODE", os.pathsep.join([str(Path("one").absolute()), "other/wide.py"]))
    parts.use_code([Path("other/wide.py")])  # twice the same is once
    loaded = experiment.load(
        CONFIG, ["detector.name=mine", "features.encoder.name=wide", "features.encoder.short_side=32"]
    )
    assert (loaded.detector.name, loaded.features.encoder and loaded.features.encoder.name) == ("mine", "wide")


@pytest.mark.parametrize("line", ["from helper import WIDTH", "from .helper import WIDTH", "import helper as h"])
def test_files_of_a_folder_import_each_other(line: str) -> None:
    write("folder/mine.py", f"{line}\n{DETECTOR}")
    write("folder/other.py", ENCODER + "\nfrom mine import Config as Detector\n")
    write("folder/helper.py", "WIDTH = 3\n")
    parts.use_code([Path("folder")])
    module = parts.find("detectors", "mine")
    assert parts.find("encoders", "other").Detector is module.Config  # one module, by whichever name
    assert [file.path for file in code_files.in_use()] == ["folder/helper.py", "folder/mine.py", "folder/other.py"]


def test_a_folder_that_is_a_package_is_imported_as_one() -> None:
    write("lab_of_mine/__init__.py", "WIDTH = 3\n")
    write("lab_of_mine/layers/sizes.py", "from lab_of_mine import WIDTH\n")
    write("lab_of_mine/mine.py", f"from lab_of_mine.layers.sizes import WIDTH\nfrom . import WIDTH\n{DETECTOR}")
    parts.use_code([Path("lab_of_mine")])
    assert parts.find("detectors", "mine").__name__ == "lab_of_mine.mine"
    assert [file.name for file in code_files.in_use()] == ["__init__.py", "layers/sizes.py", "mine.py"]


@pytest.mark.parametrize("code", ["folder", "folder/two_files"])
def test_a_folder_is_a_part_whose_network_is_imported_when_it_is_built(code: str) -> None:
    """Its settings are in `__init__.py`; `--code` names it or the folder that it is in."""
    build = "    def build(self, in_channels, num_classes, max_steps):\n"
    imports = "        from .network import Network\n        return Network()\n"
    write("folder/two_files/__init__.py", f"{DETECTOR}{build}{imports}")
    write("folder/two_files/network.py", "from .sizes import WIDTH\nclass Network:\n    width = WIDTH\n")
    write("folder/two_files/sizes.py", "WIDTH = 3\n")
    parts.use_code([Path(code)])
    detector = experiment.load(CONFIG, ["detector.name=two_files", "detector.extra=2"]).detector
    assert (detector.name, detector.model_dump()["extra"]) == ("two_files", 2)
    package = type(detector).__module__
    assert f"{package}.network" not in sys.modules
    assert parts.available("detectors")["two_files"] == "A detector of my own."
    assert detector.build(1, 1, 1).width == 3  # type: ignore[attr-defined]  # not a detector's network
    assert f"{package}.network" in sys.modules
    assert {Path(file.path).name for file in code_files.in_use()} == {"__init__.py", "network.py", "sizes.py"}


def test_a_package_with_the_name_of_an_installed_one_is_refused() -> None:
    write("rich/__init__.py", "")
    write("rich/mine.py")
    with pytest.raises(UserError, match="a package with the same name as an installed one"):
        parts.use_code([Path("rich")])
    Path("rich/__init__.py").unlink()
    parts.use_code([Path("rich")])
    assert parts.find("detectors", "mine").Config


def test_a_file_named_alone_imports_no_other_of_its_folder() -> None:
    write("folder/mine.py", f"import next_to_it\n{DETECTOR}")
    write("folder/next_to_it.py", "")
    message = error_of("folder/mine.py")
    assert "folder/mine.py:1: ModuleNotFoundError: No module named 'next_to_it'" in message
    assert "--code folder" in message
    parts.use_code([Path("folder")])
    assert parts.find("detectors", "mine").Config


def test_an_edited_file_is_imported_anew() -> None:
    write("mine.py")
    parts.use_code([Path("mine.py")])
    assert parts.find("detectors", "mine").Config().extra == 1
    before = code_files.in_use()
    write("mine.py", DETECTOR.replace("= 1", "= 2"))
    assert parts.find("detectors", "mine").Config().extra == 1
    assert code_files.in_use() == before  # of what was imported, not of what lies there now
    parts.use_code([Path("mine.py")])
    assert parts.find("detectors", "mine").Config().extra == 2
    (changed,) = code_files.changes(before)
    assert changed.startswith("mine.py: sha256 ")


@pytest.mark.parametrize(
    "name", ["trap", "trap.py", "folder.trap", "folder/trap", "../trap", "/trap", "os.path", "__init__", "base", ""]
)
def test_settings_from_a_stranger_import_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = "from pathlib import Path\nPath('sprung').touch()\n" + DETECTOR
    for place in ("trap.py", "folder/trap.py", "folder/__init__.py", "../trap.py"):
        write(place, trap)
    sections = ("detector", "dataset", "features")
    write("stranger.yaml", "".join(f"{section}: {{name: '{name}'}}\n" for section in sections))
    write("inside.yaml", f"features: {{name: stored, encoder: {{name: '{name}'}}}}\n")
    for place in (Path.cwd(), Path("folder").absolute()):  # as with python -m actloc in the folder
        monkeypatch.syspath_prepend(place)
    with pytest.raises(UserError) as caught:
        experiment.load("stranger.yaml")
    with pytest.raises(UserError, match=re.escape(f"features.encoder.name: {name!r} is not one of")):
        experiment.load("inside.yaml")
    for section in sections:
        assert f"{section}.name: {name!r} is not one of" in str(caught.value)
    assert str(caught.value).count(f"add --code {'trap.py' if name == 'trap' else ''}") == len(sections)
    assert not Path("sprung").exists()
    assert not [module for module in sys.modules.values() if str(getattr(module, "__file__", "")).endswith("/trap.py")]


@pytest.mark.parametrize("name", ["color", "actionformer", "custom", "stored"])
def test_the_name_of_a_part_of_ours_is_refused(name: str) -> None:
    write(f"folder/{name}.py")
    with pytest.raises(UserError, match=rf"folder/{name}\.py has the name {name}, which is one of actloc's own"):
        parts.use_code([Path("folder")])


def test_two_files_with_the_same_name_are_refused() -> None:
    write("a/mine.py")
    write("b/mine.py", ENCODER)
    with pytest.raises(UserError, match=r"a/mine\.py and b/mine\.py are two parts with the same name, mine"):
        parts.use_code([Path("a"), Path("b/mine.py")])


def test_code_that_is_missing_or_has_no_part_is_refused() -> None:
    write("folder/helper.py", "WIDTH = 1\n")
    write("mine.py")
    for given, message in (("mime.py", "does not exist. Did you mean mine.py?"), ("folder", "has no part")):
        with pytest.raises(UserError, match=message.replace("?", r"\?")):
            parts.use_code([Path(given)])


def test_a_part_of_another_kind_is_refused() -> None:
    write("mine.py", ENCODER)
    parts.use_code([Path("mine.py")])
    assert "detector.name: 'mine' in mine.py is one of the encoders, not of the detectors" in complaint(
        "detector.name=mine"
    )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import torch\nclass Config(\n", "mine.py:2: SyntaxError: '(' was never closed"),
        ("import torhc\nclass Config: pass", "mine.py:1: ModuleNotFoundError: No module named 'torhc'"),
        ("\nWIDTH = HEIGHT\nclass Config: pass", "mine.py:2: NameError: name 'HEIGHT' is not defined"),
        ("def f():\n  return 1 / 0\nf()\nclass Config: pass", "mine.py:2: in f: ZeroDivisionError: division by zero"),
        ("\n\nraise SystemExit(3)\nclass Config: pass", "mine.py:3: SystemExit: 3"),
        ("\nclass Config:\n  pass", "mine.py:2: Config is not a part."),
        ("if 0:\n  1\n'''\nclass Config\n'''", "mine.py:1: there is no class Config."),
        (
            "from actloc.detectors.base import DetectorConfig\nclass Config(DetectorConfig):\n  width: int = 1",
            "mine.py:2: Config is missing build.",
        ),
        ("x = '\0'\nclass Config: pass", "mine.py:1: "),
    ],
)
def test_an_error_at_import_names_file_and_line(code: str, message: str) -> None:
    write("folder/mine.py", code)
    assert f"folder/{message}" in error_of("folder/mine.py")


def test_an_error_in_a_helper_names_the_helper() -> None:
    write("folder/mine.py", f"import helper\n{DETECTOR}")
    for code, message in (("x = (\n", "helper.py:1: SyntaxError"), ("\nx = y\n", "helper.py:2: NameError")):
        write("folder/helper.py", code)
        assert f"folder/{message}" in error_of("folder")


def test_an_error_in_a_check_of_settings_names_file_and_line() -> None:
    check = "\n    @model_validator(mode='after')\n    def _check(self):\n        return self.missing\n"
    write("mine.py", f"from pydantic import model_validator\n{DETECTOR}{check}")
    parts.use_code([Path("mine.py")])
    with pytest.raises(AttributeError) as caught:
        experiment.load(CONFIG, ["detector.name=mine"])
    assert "mine.py:12: in _check: AttributeError" in str(code_error(caught.value))


def announce(
    monkeypatch: pytest.MonkeyPatch, part: str, module: str, text: str | None = None, name: str = "lab"
) -> None:
    """Installs a package that announces a detector."""
    site = Path("site").absolute()
    write(f"site/{name}-1.2.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    write(f"site/{name}-1.2.dist-info/entry_points.txt", f"[actloc.detectors]\n{part} = {module}\n")
    if text is not None:
        write(f"site/{module.replace('.', '/')}.py", text)
    if str(site) not in sys.path:
        monkeypatch.syspath_prepend(site)
    parts._entry_points.cache_clear()
    for known in [one for one in sys.modules if one.partition(".")[0] == module.partition(".")[0]]:
        monkeypatch.delitem(sys.modules, known)


def test_a_package_announces_a_part_as_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, "wide", "lab_package.detectors.very_wide", DETECTOR)
    loaded = experiment.load(CONFIG, ["detector.name=wide", "detector.extra=2"])
    assert (loaded.detector.name, loaded.detector.model_dump()["extra"]) == ("wide", 2)
    assert parts.available("detectors")["wide"] == "from the package lab 1.2"
    (file,) = code_files.in_use()
    assert (file.given, file.name) == ("lab 1.2", "detectors/very_wide.py")


def test_an_error_in_a_package_names_it_with_file_and_line(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, "wide", "broken_package.wide", "\nx = y\n")
    message = error_of(detector="wide")
    assert "site/broken_package/wide.py:2: NameError" in message
    assert "the package lab 1.2" in message
    announce(monkeypatch, "wide", "absent_package.wide")
    with pytest.raises(CodeError, match=r"The package lab 1\.2 announces absent_package\.wide"):
        parts.find("detectors", "wide")


def test_a_package_may_not_take_the_name_of_another_part(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, "actionformer", "bold_package.mine", DETECTOR)
    assert "'actionformer' is announced by lab 1.2 and by actloc itself" in complaint()
    announce(monkeypatch, "wide", "bold_package.mine", DETECTOR)
    announce(monkeypatch, "wide", "other_package.mine", DETECTOR, name="studio")
    assert "announced by lab 1.2 and studio 1.2" in complaint("detector.name=wide").replace(
        "studio 1.2 and lab 1.2", "lab 1.2 and studio 1.2"
    )
    write("wide.py")
    with pytest.raises(
        UserError, match=r"wide\.py has the name wide, which is one of the detectors of an installed package"
    ):
        parts.use_code([Path("wide.py")])


def test_files_of_a_record_are_looked_for_in_the_code_in_use_alone() -> None:
    write("folder/mine.py")
    write("secret.py", "x = 1\n")
    parts.use_code([Path("folder")])
    parts.find("detectors", "mine")
    (file,) = code_files.in_use()
    assert code_files.changes([file]) == []
    assert code_files.missing([file]) == []
    foreign = replace(file, name="../secret.py")
    assert code_files.missing([foreign]) == [foreign]
    assert code_files.changes([foreign])[0].endswith("missing now")


def test_code_that_no_setting_names_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    write("mine.py")
    parts.use_code([Path("mine.py")])
    experiment.load(CONFIG)
    parts.warn_of_unused_code()
    assert "--code mine.py is not used: no setting names mine" in capsys.readouterr().err
    experiment.load(CONFIG, ["detector.name=mine"])
    parts.warn_of_unused_code()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        ("RuntimeError('DefaultCPUAllocator: can\\'t allocate memory')", 4, "Free memory"),
        ("type('OutOfMemoryError', (RuntimeError,), {})('CUDA out of memory')", 4, "Free memory"),
        ("OSError(28, 'No space left on device')", 4, "No space left on device"),
        ("FileNotFoundError(2, 'No such file', 'labels.txt')", 2, "mine.py:10: in build: FileNotFoundError"),
        ("KeyError('label')", 2, "mine.py:10: in build: KeyError: 'label'"),
    ],
)
def test_an_error_in_own_code_keeps_the_status_of_what_it_is(
    error: str, status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("mine.py", f"{DETECTOR}\n    def build(self, *_):\n        raise {error}\n")
    parts.use_code([Path("mine.py")])
    config = parts.find("detectors", "mine").Config()
    assert finish(lambda: config.build(1, 1, 1)) == status
    assert says in capsys.readouterr().err
