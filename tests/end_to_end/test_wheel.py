"""The wheel by itself: built from this tree, installed beside its dependencies alone, used from an empty folder."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from actloc.settings.shipped import here_or_shipped
from tests.toy import ROOT

LARGEST_WHEEL = 5_000_000  # bytes


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def programs(wheel: Path) -> Path:
    """The folder of the installed console scripts; the environment sees this one's packages, but not the repository."""
    environment = wheel.parent / "environment"
    venv.create(environment, symlinks=True)
    paths = sysconfig.get_paths("venv", {"base": str(environment), "platbase": str(environment)})
    # a folder named in a .pth file adds its packages, and not what its own .pth files name: no editable install
    (Path(paths["purelib"]) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip("--python", str(environment), "install", "--no-compile", str(wheel))
    return Path(paths["scripts"])


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run([*command, "--no-deps", "--no-index"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run(programs: Path, folder: Path, *command: str) -> str:
    """The output of an installed program that cannot see the repository."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(programs / command[0]), *command[1:]],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**environment, "NO_COLOR": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_is_small_and_holds_configs_recipes_and_the_sample(wheel: Path) -> None:
    assert wheel.stat().st_size < LARGEST_WHEEL
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "configs", "data"], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout.splitlines()
    assert len(tracked) > 30
    assert {f"actloc/shipped_{name}" for name in tracked} <= names
    assert {name.partition("/")[0] for name in names} == {"actloc", f"{wheel.stem.rpartition('-py3')[0]}.dist-info"}


@pytest.mark.slow
def test_the_installed_program_is_the_wheels_own(programs: Path, tmp_path: Path) -> None:
    place = run(programs, tmp_path, "python", "-c", "import actloc; print(actloc.__file__)")
    assert Path(place).is_relative_to(programs.parent)


@pytest.mark.slow
def test_ls_and_show_know_every_config_and_recipe_from_an_empty_folder(programs: Path, tmp_path: Path) -> None:
    listed = run(programs, tmp_path, "actloc", "ls")
    for file in [*(ROOT / "configs").glob("*.yaml"), *(ROOT / "configs/features").glob("*.yaml")]:
        assert f" {file.stem} " in listed
    assert 'folder: "data/own_videos"' in run(programs, tmp_path, "actloc", "show", "own_videos")
    assert 'folder: "data/i3d_thumos"' in run(programs, tmp_path, "actloc", "show", "i3d_thumos")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_sample_is_spliced_from_the_wheels_own_clips(programs: Path, tmp_path: Path) -> None:
    few = ("dataset.num_training_videos=1", "dataset.num_evaluation_videos=1", "dataset.longest_s=29.5")
    printed = run(programs, tmp_path, "actloc", "prepare", "sample_efficientnet_actionformer", *few)
    assert "test: 1 video," in printed
    assert len(list((tmp_path / "data/spliced_sample/videos").glob("*.mp4"))) == 2


@pytest.mark.slow
def test_the_learnable_set_is_prepared_and_read_in_place(programs: Path, tmp_path: Path) -> None:
    printed = run(programs, tmp_path, "actloc", "prepare", "learnable_actionformer")
    assert "40 videos, 76 actions of 5 classes" in printed
    assert not (tmp_path / "data/learnable_prepared/missing_features.txt").exists()


def test_a_file_of_ones_own_goes_before_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sample = Path("data/sample")
    assert here_or_shipped(sample).is_absolute()
    assert here_or_shipped(Path("data/thumos")) == Path("data/thumos")
    assert here_or_shipped(Path("data/learnable/nothing.h5")) == Path("data/learnable/nothing.h5")
    sample.mkdir(parents=True)
    assert here_or_shipped(sample) == sample
