"""`prepare` with re-encoding and with frames, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest

from actloc.annotations import form as annotation_form
from actloc.annotations import prepared
from actloc.store.store import FeatureStore
from tests.toy import actloc, copy_toy


@pytest.mark.parametrize(("form", "suffix"), [("reencode", ".mp4"), ("frames", "")])
def test_features_of_converted_videos_are_those_of_the_originals(
    encoded: Path, tmp_path: Path, form: str, suffix: str
) -> None:
    folder = copy_toy(encoded, tmp_path / "100% toy")
    settings = (
        "dataset.folder=converted",
        "features.path=other",
        f"preparation.videos={form}",
        "preparation.short_side=48",
    )
    for command in ("prepare", "extract-features"):
        done = actloc(folder, command, "toy.yaml", *settings)
        assert done.returncode == 0, done.stderr
    found = annotation_form.read(folder / "converted/annotations.json").videos
    assert all(video.file is not None and video.file.suffix == suffix for video in found.values())
    plain, converted = FeatureStore(folder / "features"), FeatureStore(folder / "other")
    for video_id in plain.ids():
        np.testing.assert_allclose(converted.read(video_id), plain.read(video_id), atol=6)  # of 255 grey levels
    before = {path: path.stat().st_mtime_ns for path in (folder / "converted").rglob("*") if path.is_file()}
    assert actloc(folder, "prepare", "toy.yaml", *settings).returncode == 0
    after = {path: path.stat().st_mtime_ns for path in (folder / "converted").rglob("*") if path.is_file()}
    assert {path for path in before if before[path] != after[path]} <= {folder / "converted/.lock"}


def test_other_annotations_are_not_written_over_unasked(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    path = folder / "prepared/annotations.json"
    path.write_text(path.read_text().replace("2.0", "2.125"))
    before = path.read_bytes()
    done = actloc(folder, "prepare", "toy.yaml")
    assert done.returncode == 2
    assert "annotations.json was changed after `prepare` wrote it" in done.stderr
    assert "--overwrite" in done.stderr
    assert path.read_bytes() == before
    assert actloc(folder, "prepare", "toy.yaml", "--overwrite").returncode == 0
    assert path.read_bytes() != before
    (folder / "prepared/prepared.json").unlink()  # as an older version leaves it
    with (folder / "labels.csv").open("a") as stream:
        stream.write("v0.mp4,3,3.5,blue,train\n")
    done = actloc(folder, "prepare", "toy.yaml")
    assert done.returncode == 2
    assert "was not written by this version of `prepare`" in done.stderr


def test_a_corrected_label_needs_no_overwrite_and_the_changed_file_is_known_until_then(
    encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    monkeypatch.chdir(folder)
    assert prepared.changed_sources(Path("prepared")) == []
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace("v0.mp4,1.0,2.0,red", "v0.mp4,1.0,2.25,red"))
    assert prepared.changed_sources(Path("prepared")) == [Path("labels.csv")]
    done = actloc(folder, "prepare", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert "Replaced prepared/annotations.json" in done.stderr
    assert annotation_form.read(folder / "prepared/annotations.json").videos["v0"].actions[0].end_s == 2.25
    assert prepared.changed_sources(Path("prepared")) == []
    subsets = folder / "prepared/subsets.csv"
    subsets.write_text(subsets.read_text().replace("v4.mp4,train", "v4.mp4,test"))
    assert prepared.changed_sources(Path("prepared")) == [Path("prepared/subsets.csv")]
    assert actloc(folder, "prepare", "toy.yaml").returncode == 0
    assert annotation_form.read(folder / "prepared/annotations.json").videos["v4"].subset == "test"
    labels.unlink()  # where features are used without them
    assert prepared.changed_sources(Path("prepared")) == []


def test_wrong_rows_end_with_status_2_and_nothing_written(toy: Path, tmp_path: Path) -> None:
    folder = copy_toy(toy, tmp_path / "toy")
    with (folder / "labels.csv").open("a") as stream:
        stream.write("v0.mp4,3,2,blue,train\nv1.mp4,3,34,blue,train\nv2.mp4,3,4.3,blue,test\n../x,0,1,red,train\n")
    done = actloc(folder, "prepare", "toy.yaml")
    assert done.returncode == 2
    lines = len((folder / "labels.csv").read_text().splitlines())
    for line in (lines - 3, lines - 2, lines):
        assert f"labels.csv:{line}:" in done.stderr
    assert f"labels.csv:{lines - 1}:" not in done.stderr
    assert not (folder / "prepared/annotations.json").exists()


def test_names_that_look_like_commands_are_only_names(toy: Path, tmp_path: Path) -> None:
    folder = copy_toy(toy, tmp_path / "toy")
    names = ["a b", "q'uo\"te", "semi;colon", "$(touch pwned)", "视频", "🎬", "-dash", "100%03d"]
    rows = ["video,start,end,label,subset"]
    for number, name in enumerate(names):
        (folder / f"videos/{name}.mp4").write_bytes((folder / "videos/v0.mp4").read_bytes())
        cell = '"' + name.replace('"', '""') + '"'
        rows.append(f"{cell},1,2,red,{'test' if number % 2 else 'train'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    for settings in ((), ("dataset.folder=p2", "features.path=f2", "preparation.videos=reencode")):
        for command in ("prepare", "extract-features"):
            done = actloc(folder, command, "toy.yaml", *settings)
            assert done.returncode == 0, done.stderr
    for store in ("features", "f2"):
        assert set(names) <= set(FeatureStore(folder / store).ids())
    assert not list(tmp_path.rglob("pwned"))
