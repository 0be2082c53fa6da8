"""The examples of the page on Python run as they are printed, on a run of this test in place of the demo's."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import actloc as package
from actloc.errors import UserError, VideoError
from actloc.video.frames_file import write_frames
from actloc.video.reader import read_frames
from tests.toy import actloc, copy_toy, make_video

PAGE, RESULTS = Path("configs/PYTHON.md"), Path("configs/RESULTS.md")
RUN = "ckpt/sample_efficientnet_actionformer"


@pytest.fixture(scope="module")
def demo(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy set, trained and scored, where the demo's run is."""
    folder = copy_toy(encoded, tmp_path_factory.mktemp("demo") / "toy")
    name = f"run.name={Path(RUN).name}"
    settings = ("schedule.epochs=30", "schedule.warmup_epochs=5", "training.checkpoint_every_epochs=20")
    for command in (("train", "toy.yaml", name, *settings), ("eval", RUN)):
        done = actloc(folder, *command)
        assert done.returncode == 0, done.stderr
    sample = folder / "data/spliced_sample"
    (sample / "videos").mkdir(parents=True)
    shutil.copy(folder / "prepared/annotations.json", sample)
    shutil.copy(folder / "videos/v2.mp4", sample / "videos/test_000.mp4")
    make_video(folder / "new_video.mp4", [("red", 1.0, 2.0), ("blue", 2.75, 3.75)])
    return folder


@pytest.fixture
def folder(demo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(demo)
    return demo


@pytest.mark.parametrize("page", [PAGE, RESULTS], ids=str)
def test_the_examples_of_the_page_run(page: Path, folder: Path) -> None:
    text = (Path(__file__).parents[2] / page).read_text()
    found = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(found) == (7 if page == PAGE else 1)
    names: dict[str, Any] = {"__name__": "page"}
    for block in found:
        assert len([line for line in block.splitlines() if line and line != "import actloc"]) <= 3
        exec(compile(block, page.name, "exec"), names)
    if page == PAGE:
        assert names["failed"] == {}
        assert list(names["found"]) == ["data/spliced_sample/videos/test_000.mp4", "new_video.mp4"]
        assert names["results"].average_map is not None


def test_frames_from_memory_are_a_lossless_video(folder: Path) -> None:
    with read_frames(folder / "new_video.mp4", fps="native") as reading:
        frames = np.stack(list(reading))
    write_frames(iter(frames), 30, folder / "lossless.mov")
    with package.load(RUN, settings=["prediction.threshold=0"]) as model:
        expected = model.predict("lossless.mov")
        assert expected
        assert model.predict(frames, fps=30) == expected
        assert model.predict(iter(frames), fps=30) == expected
        assert model.predict(list(frames), fps=30) == expected
        close = model.predict("new_video.mp4")  # the same pictures, whose colours are converted while they are resized
    assert {one.label for one in close} == {one.label for one in expected}
    assert close[0].score == pytest.approx(expected[0].score, abs=0.05)


def test_a_part_is_what_a_file_with_only_this_part_is(folder: Path) -> None:
    with read_frames(folder / "new_video.mp4", fps="native") as reading:
        frames = np.stack(list(reading))
    with package.load(RUN, settings=["prediction.threshold=0"]) as model:
        expected = model.predict(frames[30:90], fps=30)
        part = model.predict(frames, fps=30, start_s=1, end_s=3)
        assert [(one.label, one.score) for one in part] == [(one.label, one.score) for one in expected]
        for one, other in zip(part, expected, strict=True):
            assert (one.start_s, one.end_s) == pytest.approx((other.start_s + 1, other.end_s + 1), abs=1e-6)
        assert all(1 <= one.start_s < one.end_s <= 3 + 1e-6 for one in part)
        assert model.predict("new_video.mp4", start_s=0) == model.predict("new_video.mp4")
        with pytest.raises(VideoError):
            model.predict("new_video.mp4", start_s=1, end_s=1.01)
        with pytest.raises(UserError, match=r"4\.00 s long"):
            model.predict("new_video.mp4", start_s=4.5)


def test_an_encoder_of_the_run_sees_parts_and_frames_too(folder: Path) -> None:
    text = (folder / "toy.yaml").read_text().replace("  name: stored\n", "  name: encoded\n")
    (folder / "live.yaml").write_text(text.replace("  path: features\n", ""))
    for command in (("train", "live.yaml", "schedule.epochs=2"), ("eval", "ckpt/live")):
        done = actloc(folder, *command)
        assert done.returncode == 0, done.stderr
    with read_frames(folder / "new_video.mp4", fps="native") as reading:
        frames = np.stack(list(reading))
    steps: list[tuple[float, float]] = []
    with package.load("ckpt/live", settings=["prediction.threshold=0"]) as model:
        expected = model.predict(frames[30:90], fps=30)
        part = model.predict(frames, fps=30, start_s=1, end_s=3, progress=lambda *at: steps.append(at))
        whole = model.predict("new_video.mp4")
        assert model.predict("new_video.mp4") == whole  # a part leaves nothing behind
    assert steps[-1] == (pytest.approx(2.0), pytest.approx(2.0))
    assert [(one.label, one.score) for one in part] == [(one.label, one.score) for one in expected]
    assert part
    assert part[0].start_s == pytest.approx(expected[0].start_s + 1, abs=1e-6)


def test_a_recogniser_names_parts_and_frames(recognizing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recognizing)
    video = sorted(Path("videos").rglob("*.*"))[0]
    with read_frames(video.absolute(), fps="native") as reading:
        frames, fps = np.stack(list(reading)), reading.summary.fps
    steps: list[tuple[float, float]] = []
    with package.load("ckpt/toy") as model:
        whole = model.predict(frames, fps=fps)
        assert [one.label for one in model.predict(video)] == [one.label for one in whole]
        part = model.predict(frames, fps=fps, start_s=4 / fps, end_s=16 / fps, progress=lambda *at: steps.append(at))
        assert part == model.predict(frames[4:16], fps=fps)
        assert part != whole
        many = model.predict([str(video), video.parent])
    assert steps[-1] == (pytest.approx(12 / fps), pytest.approx(12 / fps))
    assert sum(one.score for one in part) == pytest.approx(1)
    assert len(many) > 1


def test_evaluate_gives_the_numbers_of_the_command(folder: Path) -> None:
    done = actloc(folder, "eval", RUN, "--predictions", f"{RUN}/eval/test/predictions.json")
    assert done.returncode == 0, done.stderr
    (stored,) = (folder / RUN).glob("eval/test-file*/metrics.json")
    expected = package.evaluate("prepared/annotations.json", f"{RUN}/eval/test/predictions.json", subset="test")
    content = json.loads(stored.read_text())
    for name in ("average_map", "mean_ap", "class_ap", "classes", "tious", "truth_per_class", "protocol"):
        assert content[name] == getattr(expected, name), name
    assert content["thresholds"] == [one.model_dump() for one in expected.thresholds]
    own = package.evaluate("labels.csv", f"{RUN}/eval/test/predictions.json", subset="test")
    assert own.class_ap == [expected.class_ap[expected.classes.index(name)] for name in own.classes]
