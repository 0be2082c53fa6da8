"""The commands of every page, help page and config header run as they are printed, on small videos."""

import ast
import importlib.metadata
import json
import os
import re
import shlex
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any, get_args
from urllib.request import urlopen

import numpy as np
import pytest
import yaml

import actloc as package
from actloc import experiment, recipes
from actloc.errors import VideoReason
from tests.test_configs import LEFT_OPEN
from tests.test_house_rules import FLOORS
from tests.toy import CONFIG, SCENES, actloc, copy_toy, make_video
from tests.viewer.made_up_set import viewing

NAME, ARCHIVE_NAME = "sample_efficientnet_actionformer", "thumos14_i3d_actionformer"
LIVE_NAME = "sample_efficientnet_end_to_end_actionformer"
STORE = "data/spliced_sample/efficientnet_lite0"
COMMANDS = [
    "init",
    "prepare",
    "extract-features",
    "import-features",
    "train",
    "eval",
    "report",
    "predict",
    "suggest",
    "view",
    "doctor",
    "convert",
    "convert-annotations",
    "convert-predictions",
    "ls",
    "show",
    "verify",
    "compare",
    "export",
]
PAGES = [
    Path(name)
    for name in (
        *(
            "README.md",
            "configs/README.md",
            "configs/OWN_DATA.md",
            "configs/PYTHON.md",
            "configs/RESULTS.md",
            "configs/end_to_end.md",
            "configs/recognition.md",
            "data/README.md",
            "ckpt/README.md",
        ),
        *(
            ".github/BENCHMARKS.md",
            ".github/CHANGELOG.md",
            ".github/CONTRIBUTING.md",
            "tests/golden/README.md",
            "actloc/README.md",
        ),
    )
]
# data and weights that are not in the repository: of such commands only the settings are checked
NOT_HERE = (
    "i3d_thumos",
    "i3d_25fps",
    "recipe=i3d_thumos",
    "pair.yaml",
    "data/pair/ours",
    "data/slowfast_ego4d/features",
)
NOT_HERE += ("ego4d_mq_slowfast_actionformer", "activitynet13_tsp_etad", "kinetics400_tanet_8f")
ELSEWHERE = (
    "own_videos",
    "init",
    "my_actions",
    "boris_actions",
    "elan_actions",
    "my_videos",
    "convert-annotations",
    "own_clips",
    "own_tanet",
    "own_actions",
    "my_experiment",
    "my_parts",
)
RETIRED = re.compile(r"\b(lacking|told|tells?|stands|mends?|besides|so many|lies|behind)\b", re.IGNORECASE)


class Shell:
    """A folder in which printed commands run, each line once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran: set[str] = set()

    def run(self, line: str) -> None:
        program, *arguments = shlex.split(line)
        assert program == "actloc"
        plain = shlex.join([program, *arguments])
        if plain in self.ran:
            return
        words = [name for word in arguments for name in (self._expanded(word) if "*" in word else [word])]
        if words[0] == "view":  # which serves until it is stopped
            with viewing(self.folder, *words[1:]) as (address, _), urlopen(address) as answer:
                assert b"<video" in answer.read()
            self.ran.add(plain)
            return
        done = actloc(self.folder, *words)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        self.ran.add(plain)

    def _expanded(self, word: str) -> list[str]:
        """What a shell makes of a word with a star."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.glob(word))


@pytest.fixture(scope="module")
def shell(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell where the name of the demo's config means the toy set, and THUMOS14's the toy's feature files.

    The files that examples start from are there: features, runs, an official checkpoint, two stores.
    """
    folder = copy_toy(toy, tmp_path_factory.mktemp("docs") / "toy")
    text = CONFIG.replace("folder: prepared", "folder: data/spliced_sample").replace("path: features", f"path: {STORE}")
    (folder / "configs").mkdir()
    (folder / f"configs/{NAME}.yaml").write_text(text)
    encoder = "  encoder:\n    name: color\n    short_side: 48\n"
    in_place = text.replace(f"name: stored\n{encoder}  path: {STORE}", "name: folders\n  path: archive")
    efficient = "  preset: etad\n  encoder: {name: efficientnet_lite0, short_side: 32, crop: 32}\n"
    live = text.replace(f"name: stored\n{encoder}  path: {STORE}\n", f"name: encoded\n{efficient}")
    (folder / f"configs/{LIVE_NAME}.yaml").write_text(live)
    (folder / f"configs/{ARCHIVE_NAME}.yaml").write_text(in_place)
    (folder / "archive").mkdir()
    for name in SCENES:
        np.save(folder / f"archive/{name}.npy", np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32))
    for video in (
        "data/spliced_sample/videos/test_000.mp4",
        "data/spliced_sample/videos/test_001.mp4",
        "my.mp4",
        "new_video.mp4",
    ):
        make_video(folder / video, [("red", 1, 2)])
    shutil.copytree(folder / "videos", folder / "my_videos")
    shutil.copy(folder / "labels.csv", folder / "my_videos")
    shell = Shell(folder)
    for line in (
        *(f"{command} {NAME}" for command in ("prepare", "extract-features", "train", "eval")),
        *(f"train {NAME} run.name=seed1 run.seed=1", "eval ckpt/seed1"),
        *(f"{command} {ARCHIVE_NAME}" for command in ("prepare", "train")),
        f"convert ckpt/{ARCHIVE_NAME} epoch_035.pth.tar",
    ):
        shell.run(f"actloc {line}")
    shutil.copy(folder / f"ckpt/{NAME}/eval/test/predictions.json", folder / "found.json")
    for name in ("ours", "published"):
        shutil.copytree(folder / STORE, folder / "data" / name)
    return shell


def examples(command: str) -> list[str]:
    page = actloc(Path.cwd(), command, "--help", COLUMNS="200").stdout
    return [line.strip(" │") for line in page.splitlines() if line.strip(" │").startswith("actloc ")]


def printed(page: Path) -> list[str]:
    """The commands in a page's blocks of shell code, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))]


def needs_what_is_not_here(line: str) -> bool:
    return any(word in NOT_HERE for word in shlex.split(line) if word != "i3d_thumos" or "import-features" not in line)


def in_pages(*, foreign: bool) -> list[str]:
    """The commands of all pages but those on own videos or clips, or with own parts: these run in other folders."""
    lines = [line for page in PAGES for line in printed(page) if line.startswith("actloc ")]
    lines = [line for line in lines if not any(word in line for word in ELSEWHERE)]
    return [line for line in lines if needs_what_is_not_here(line) == foreign]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_every_help_page_run(command: str, shell: Shell) -> None:
    lines = examples(command)
    assert len(lines) >= 2
    for line in lines:
        shell.run(line)


def test_the_commands_of_every_page_run(shell: Shell) -> None:
    lines = in_pages(foreign=False)
    assert len(lines) >= 15
    for line in lines:
        shell.run(line)


def test_the_commands_on_data_that_is_not_here_have_settings_that_load(tmp_path: Path) -> None:
    text = Path("configs/README.md").read_text()
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block
    (tmp_path / "pair.yaml").write_text(block[1])
    lines = in_pages(foreign=True)
    assert len(lines) >= 8
    for line in lines:
        check_settings(line.replace("pair.yaml", str(tmp_path / "pair.yaml")))


def check_settings(line: str) -> None:
    """That a command exists, and that its settings are right."""
    _, command, *words = shlex.split(line)
    assert command in COMMANDS
    if command not in ("compare", "export"):
        overrides = [word for word in words if re.match(r"[a-z_.]+=", word)]
        experiment.load(words[0], overrides)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_programs_that_a_page_names_are_there(page: Path) -> None:
    installed = {entry.name for entry in importlib.metadata.entry_points(group="console_scripts")} | {"pip"}
    for line in printed(page):
        program = shlex.split(line)[0]
        assert program in installed or os.access(program, os.X_OK), line


@pytest.mark.slow
def test_the_readmes_five_commands_run_on_a_folder_of_videos_and_a_csv(tmp_path: Path) -> None:
    rows = ["video,start,end,label"]
    for number in range(5):
        colour = ("red", "blue")[number % 2]
        make_video(tmp_path / f"my_videos/clip {number}.mp4", [(colour, 1, 2.5)])
        rows.append(f"clip {number}.mp4,1,2.5,{colour}")
    (tmp_path / "my_videos/labels.csv").write_text("\n".join(rows) + "\n")
    make_video(tmp_path / "new_video.mp4", [("red", 1, 2.5)])
    # the config that is shipped, for fewer epochs: how long it trains is no matter of the commands
    text, count = re.subn(r"epochs: \d+$", "epochs: 1", Path("configs/own_videos.yaml").read_text(), flags=re.MULTILINE)
    assert count == 2
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/own_videos.yaml").write_text(text)
    own = Shell(tmp_path)
    lines = [line for line in printed(Path("README.md")) if "own_videos" in line]
    assert len(lines) == 6
    for line in lines:
        own.run(line)
    assert (tmp_path / "ckpt/own_videos/report.html").exists()
    code = re.search(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    assert code
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(compile(code[1], "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.slow
def test_the_commands_on_own_clips_run(tmp_path: Path) -> None:
    """Those of the page on recognition, one after the other, with the shipped config on smaller frames."""
    for number in range(4):
        for label, colour in (("run", "red"), ("jump", "blue")):
            make_video(tmp_path / f"my_clips/{label}/{number} {label}.mp4", [(colour, 0, 1)], 1)
        make_video(tmp_path / f"my_videos/{number}.mp4", [(("red", "blue")[number % 2], 1, 2.5)])
    rows = [
        f"{number}.mp4,1,2.5,{('red', 'blue')[number % 2]},{'train' if number < 2 else 'test'}" for number in range(4)
    ]
    (tmp_path / "my_videos/labels.csv").write_text("\n".join(["video,start,end,label,subset", *rows]) + "\n")
    make_video(tmp_path / "new_video.mp4", [("red", 1, 2.5)])
    text = Path("configs/own_clips.yaml").read_text()
    for name, value in (("epochs", 1), ("warmup_epochs", 1), ("short_side", 32), ("crop", 32)):
        text, count = re.subn(rf"^(\s+{name}): \d+$", rf"\1: {value}", text, flags=re.MULTILINE)
        assert count == 1
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/own_clips.yaml").write_text(text)
    own = Shell(tmp_path)
    own.run("actloc prepare own_videos dataset.videos=my_videos dataset.annotations=my_videos/labels.csv")
    lines = [line for line in printed(Path("configs/recognition.md")) if "own_" in line]
    assert len(lines) == 11
    for line in lines:
        own.run(line)
    assert (tmp_path / "ckpt/own_clips/report.html").exists()
    assert json.loads((tmp_path / "scores.json").read_text())["windows"].keys() == {"2", "3"}


@pytest.mark.parametrize("file", experiment.configs(), ids=lambda file: file.stem)
def test_the_commands_in_a_configs_header_name_the_config_itself(file: Path) -> None:
    lines = re.findall(r"^#\s+(?:torchrun --nproc-per-node \d -m )?(actloc .*)$", file.read_text(), re.MULTILINE)
    commands = ["prepare", "extract-features", "train", "eval", "report"]
    features: Any = experiment.load(str(file), list(LEFT_OPEN.get(file.stem, ()))).sections.get("features")
    # recognition has no features
    if features is None or features.encoder is None or (features.trains_encoder and features.bank_store is None):
        commands.remove("extract-features")  # features come from files, or are made in training
    assert [line.split()[1] for line in lines] == commands
    assert all(line.split()[2] == file.stem for line in lines[:-1])
    assert lines[-1].split()[2] == f"ckpt/{file.stem}"


@pytest.mark.parametrize("file", recipes.available(), ids=lambda file: file.stem)
def test_the_commands_in_a_recipes_header_use_the_recipe(file: Path) -> None:
    header = file.read_text().replace("\\\n#", " ")
    lines = re.findall(r"^#\s+(actloc [^(\n]*)", header, re.MULTILINE)
    assert lines
    for line in lines:
        if line.split()[1] != "export":  # which takes a store and no config
            assert file.stem in line
        check_settings(line)


def test_what_the_readme_promises_is_in_its_first_hundred_lines() -> None:
    top = "\n".join(Path("README.md").read_text().splitlines()[:100])
    for needed in ("(.github/found.png)", "pip install .", "scripts/demo", "## Your own videos", "actloc predict"):
        assert needed in top
    for needed in ("```python", "## Status", "| Not there yet |"):
        assert needed in top


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_names_and_links_what_exists(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"`((?:actloc|configs|data/sample|data/learnable|tests|scripts|\.github)/?[\w./]*)`", text):
        assert Path(name).exists(), name
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_the_tour_names_only_files_that_exist() -> None:
    tour = Path("actloc/README.md")
    for name in re.findall(r"`([\w./]+(?:\.\w+|/))`", tour.read_text()):
        if "/" in name or name.endswith(".py"):
            assert (tour.parent / name).exists() or Path(name).exists(), name


def test_the_tours_floors_are_those_of_the_house_rules() -> None:
    table = Path("actloc/README.md").read_text().partition("| from the top down |")[2].partition("\n\n")[0]
    rows = [set(re.findall(r"`(\w+)(?:\.py|/)`", row.split("|")[1])) for row in table.splitlines()[2:]]
    assert rows == [rooms for rooms in reversed(FLOORS) if rooms != {"__main__"}]


def test_the_table_of_refusals_has_every_reason_with_the_files_that_give_it() -> None:
    places = defaultdict(set)
    for module in Path("actloc").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("VideoError", "FeatureFileError"):
                reasons = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
                for reason in set(reasons) & set(get_args(VideoReason)):
                    places[reason].add(str(module.relative_to("actloc")))
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", Path("actloc/README.md").read_text(), re.MULTILINE)
    table = {reason: set(re.findall(r"`([^`]+)`", files)) for reason, files in rows}
    assert table == places
    assert set(table) == set(get_args(VideoReason))


@pytest.mark.parametrize("page", [*PAGES, *experiment.configs(), *recipes.available()], ids=str)
def test_pages_and_headers_are_in_plain_english(page: Path) -> None:
    lines = page.read_text().splitlines()
    if page.suffix == ".yaml":
        lines = [line for line in lines if "#" in line]
    assert [line for line in lines if RETIRED.search(line)] == []


def test_the_citation_and_the_changelog_name_this_version() -> None:
    citation = yaml.safe_load(Path(".github/CITATION.cff").read_text())
    newest = re.search(r"^## (\S+)", Path(".github/CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert citation["version"] == newest[1] == package.__version__
