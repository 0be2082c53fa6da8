"""The commands of the README and of every help page run as they are printed, on small videos."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from actloc import experiment
from tests.toy import CONFIG, SCENES, actloc, copy_toy, make_video

NAME, ARCHIVE_NAME = "sample_efficientnet_actionformer", "thumos14_i3d_actionformer"
COMMANDS = [
    "prepare",
    "extract-features",
    "import-features",
    "train",
    "eval",
    "report",
    "predict",
    "convert",
    "ls",
    "show",
    "verify",
    "compare",
    "export",
]


def run(folder: Path, line: str) -> None:
    program, *arguments = shlex.split(line)
    assert program == "actloc"
    arguments = [name for word in arguments for name in (_expanded(folder, word) if "*" in word else [word])]
    done = actloc(folder, *arguments)
    assert done.returncode == 0, f"{line}\n{done.stderr}"


def _expanded(folder: Path, word: str) -> list[str]:
    """What a shell makes of a word with a star."""
    return sorted(str(path.relative_to(folder)) for path in folder.glob(word))


@pytest.fixture(scope="module")
def example_folder(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the name of the demo's config means the toy set, and THUMOS14's the toy's feature files."""
    folder = copy_toy(toy, tmp_path_factory.mktemp("docs") / "toy")
    text = CONFIG.replace("folder: prepared", "folder: data/spliced_sample")
    text = text.replace("path: features", "path: data/spliced_sample/efficientnet_lite0")
    (folder / "configs").mkdir()
    (folder / f"configs/{NAME}.yaml").write_text(text)
    in_place = "name: folders\n  path: archive"
    (folder / f"configs/{ARCHIVE_NAME}.yaml").write_text(
        text.replace("name: stored\n  path: data/spliced_sample/efficientnet_lite0", in_place)
    )
    (folder / "archive").mkdir()
    for name in SCENES:
        np.save(folder / f"archive/{name}.npy", np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32))
    for video in ("data/spliced_sample/videos/test_000.mp4", "data/spliced_sample/videos/test_001.mp4", "my.mp4"):
        make_video(folder / video, [("red", 1, 2)])
    return folder


def examples(command: str) -> list[str]:
    page = actloc(Path.cwd(), command, "--help", COLUMNS="200").stdout
    return [line.strip(" │") for line in page.splitlines() if line.strip(" │").startswith("actloc ")]


def test_the_examples_of_every_help_page_run(example_folder: Path) -> None:
    for command in COMMANDS:
        lines = examples(command)
        assert len(lines) >= 2, command
        if command == "report":
            run(example_folder, "actloc eval ckpt/seed1")
        if command == "compare":
            for name in ("ours", "published"):
                shutil.copytree(
                    example_folder / "data/spliced_sample/efficientnet_lite0", example_folder / "data" / name
                )
        for line in lines:
            run(example_folder, line)


@pytest.mark.slow
def test_the_readmes_five_commands_run_on_a_folder_of_videos_and_a_csv(tmp_path: Path) -> None:
    rows = ["video,start,end,label"]
    for number in range(10):
        colour = ("red", "blue")[number % 2]
        make_video(tmp_path / f"my_videos/clip {number}.mp4", [(colour, 1, 2.5)])
        rows.append(f"clip {number}.mp4,1,2.5,{colour}")
    (tmp_path / "my_videos/labels.csv").write_text("\n".join(rows) + "\n")
    make_video(tmp_path / "new_video.mp4", [("red", 1, 2.5)])
    (tmp_path / "configs").symlink_to(Path("configs").resolve())
    readme = Path("README.md").read_text()
    lines = re.findall(r"^actloc .*own_videos.*$", readme, re.MULTILINE)
    assert len(lines) == 6
    for line in lines:
        run(tmp_path, line)
    assert (tmp_path / "ckpt/own_videos/report.html").exists()
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert code
    monkey = {"__name__": "readme"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(compile(code[1], "README.md", "exec"), monkey)


@pytest.mark.parametrize("file", experiment.configs(), ids=lambda file: file.stem)
def test_the_commands_in_a_configs_header_name_the_config_itself(file: Path) -> None:
    lines = re.findall(r"^#\s+(actloc .*)$", file.read_text(), re.MULTILINE)
    commands = ["prepare", "extract-features", "train", "eval", "report"]
    if experiment.load(str(file)).encoder is None:
        commands.remove("extract-features")  # features come from files, so there is nothing to extract them with
    assert [line.split()[1] for line in lines] == commands
    assert all(f"configs/{file.name}" in line for line in lines[:-1])
    assert f"ckpt/{file.stem}" in lines[-1]


def test_the_readmes_file_map_names_what_exists() -> None:
    for name in re.findall(r"`((?:actloc|configs|data|ckpt|tests|scripts)/[\w./]*)`", Path("README.md").read_text()):
        assert Path(name).exists(), name
