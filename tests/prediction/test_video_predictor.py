"""Lists of videos, progress, parts and failures of `actloc.load(RUN).predict`, with a run that needs no network."""

import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actloc.errors import UserError, VideoError
from actloc.extraction.video_progress import VideoProgress
from actloc.prediction.video_predictor import VideoPredictor
from actloc.video.base import Span
from actloc.video.frames_file import write_frames

pytestmark = pytest.mark.usefixtures("forked_decoders")
SECONDS = {"a.mov": 2.0, "b.mov": 1.0, "c.mov": 3.0}


class Run:
    """Works on a video in four equal parts, and finds its name and the part that was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Span | None]] = []
        self.is_closed = False

    def predict(self, video: Path, progress: VideoProgress, span: Span | None = None) -> list[Any]:
        self.asked.append((video.name, span))
        if video.read_bytes() == b"broken":
            raise VideoError("unreadable", "nothing in it")
        for part in range(1, 5):
            progress.at_share(part / 4)
        return [video.name]

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, seconds in SECONDS.items():
        write_frames(iter(np.zeros((int(10 * seconds), 8, 8, 3), np.uint8)), 10, folder / name)
    return folder


@pytest.fixture
def folder(videos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(videos)
    return videos


@pytest.fixture
def run() -> Run:
    return Run()


@pytest.fixture
def model(run: Run) -> Iterator[VideoPredictor]:
    with VideoPredictor(run, takes_frames=False) as predictor:
        yield predictor
    assert run.is_closed


def test_a_path_gives_a_list_and_several_a_dict_in_their_order(model: VideoPredictor, folder: Path) -> None:
    assert model.predict("b.mov") == model.predict(Path("b.mov")) == ["b.mov"]
    assert model.predict(["c.mov", "a.mov"]) == {"c.mov": ["c.mov"], "a.mov": ["a.mov"]}
    assert list(model.predict(("b.mov", Path("a.mov"), "b.mov"))) == ["b.mov", "a.mov"]
    assert list(model.predict([str(folder)])) == [str(folder / name) for name in SECONDS]
    assert model.predict([]) == {}


def test_progress_counts_all_videos_and_never_falls(model: VideoPredictor, folder: Path) -> None:
    steps: list[tuple[float, float]] = []
    model.predict(["a.mov", "b.mov", "c.mov"], progress=lambda *at: steps.append(at))
    assert [total for _, total in steps] == pytest.approx([6.0] * len(steps))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[0][0] == pytest.approx(0.5)
    assert steps[-1] == (pytest.approx(6.0), pytest.approx(6.0))
    steps.clear()
    model.predict("c.mov", start_s=0.5, end_s=2.5, progress=lambda *at: steps.append(at))
    assert steps[-1] == (pytest.approx(2.0), pytest.approx(2.0))


def test_what_progress_raises_ends_the_prediction(model: VideoPredictor, folder: Path, run: Run) -> None:
    def stop(done_s: float, total_s: float) -> None:
        if done_s > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.predict(["a.mov", "b.mov", "c.mov"], progress=stop)
    assert [name for name, _ in run.asked] == ["a.mov", "b.mov"]


def test_a_video_that_cannot_be_read_is_raised_or_noted(model: VideoPredictor, folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"broken")
    with pytest.raises(VideoError, match="unreadable") as refused:
        model.predict(["a.mov", str(broken), "b.mov"])
    assert str(broken) in refused.value.__notes__[0]
    failed: dict[str, VideoError] = {}
    steps: list[tuple[float, float]] = []
    found = model.predict(["a.mov", str(broken), "b.mov"], failed=failed, progress=lambda *at: steps.append(at))
    assert list(found) == ["a.mov", "b.mov"]
    assert list(failed) == [str(broken)]
    assert failed[str(broken)].reason == "unreadable"
    assert steps[-1] == (pytest.approx(3.0), pytest.approx(3.0))
    failed.clear()
    assert list(model.predict(["missing.mp4", "a.mov"], failed=failed, start_s=1)) == ["a.mov"]
    assert failed["missing.mp4"].reason == "not_a_file"


def test_a_part_reaches_the_run(model: VideoPredictor, folder: Path, run: Run) -> None:
    model.predict("a.mov", start_s=0.5)
    model.predict("a.mov", end_s=np.float32(1.5))
    model.predict(["a.mov", "b.mov"], start_s=0, end_s=1)
    model.predict("a.mov")
    spans = [span for _, span in run.asked]
    assert spans == [Span(0.5), Span(0.0, 1.5), Span(0.0, 1.0), Span(0.0, 1.0), None]
    model.predict("b.mov", end_s=1.4)  # headers are not exact


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"start_s": 2.0}, "start_s is 2, and a.mov is 2.00 s long"),
        ({"end_s": 2.6}, "end_s is 2.6, and a.mov is 2.00 s long"),
        ({"start_s": -1}, "start_s is -1"),
        ({"start_s": "1"}, "start_s is '1'"),
        ({"end_s": float("inf")}, "end_s is inf"),
        ({"start_s": 1, "end_s": 1}, "start_s is 1 and end_s is 1"),
        ({"end_s": 0}, "start_s is 0 and end_s is 0"),
        ({"fps": 25}, "fps is 25 beside a path"),
    ],
)
def test_other_times_are_refused(model: VideoPredictor, folder: Path, arguments: dict[str, Any], found: str) -> None:
    with pytest.raises(UserError) as refused:
        model.predict("a.mov", **arguments)
    assert refused.value.found.startswith(found)
    assert refused.value.expected
    assert refused.value.fix


def test_other_arguments_are_refused(model: VideoPredictor, folder: Path) -> None:
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (str(folder), {}, f"{folder} is a folder"),
        (["a.mov", 3], {}, "One of the videos is a int"),
        (["missing.mov"], {}, "missing.mov is not a file"),
        (["a.mov"], {"fps": 25}, "fps is 25 beside a path"),
        (frames, {}, "The frames have no rate"),
        (frames, {"fps": 25, "failed": {}}, "failed was given with frames"),
        (iter(frames), {"fps": 25, "failed": {}}, "failed was given with frames"),
        (frames, {"fps": 2, "start_s": 3}, "start_s is 3, and the video of the frames is 2.00 s long"),
        (3, {}, "The video is a int"),
    ]
    for video, arguments, found in cases:
        with pytest.raises(UserError) as refused:
            model.predict(video, **arguments)
        assert refused.value.found.startswith(found), refused.value.found


def test_one_frame_is_in_memory_at_a_time(model: VideoPredictor, run: Run) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Frame(np.ndarray[Any, Any]):
        """An array that can be looked for, with a hash of its own."""

        __hash__ = object.__hash__
        __eq__ = object.__eq__  # type: ignore[assignment]

    def frames() -> Iterator[Any]:
        nonlocal most
        for number in range(50):
            frame = np.full((8, 8, 3), number, np.uint8).view(Frame)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame
            del frame

    assert model.predict(frames(), fps=25) == ["frames.mov"]
    assert most <= 4


def test_a_users_code_is_checked_by_mypy(tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text(
        "import actloc\n"
        "import numpy\n"
        "model = actloc.load('ckpt/run')\n"
        "reveal_type(model.predict('a.mp4'))\n"
        "reveal_type(model.predict(['a.mp4', 'b.mp4']))\n"
        "reveal_type(model.predict(numpy.zeros((4, 8, 8, 3), numpy.uint8), fps=25))\n"
        "reveal_type(actloc.evaluate('a.csv', {}, protocol='thumos').average_map)\n"
        "model.predict('a.mp4', fps=25)\n"
        "actloc.evaluate('a.csv', {}, protocol='mine')\n"
    )
    arguments = ["--strict", "--cache-dir", str(tmp_path / "cache"), "--config-file", "", str(code)]
    done = subprocess.run([sys.executable, "-m", "mypy", *arguments], check=False, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    shown = [line.partition("Revealed type is ")[2] for line in lines if "Revealed type" in line]
    assert "list[Any]" in shown[0]
    assert "dict[" in shown[1]
    assert "list[Any]" in shown[2]
    assert "float | None" in shown[3] or "Union[builtins.float, None]" in shown[3]
    errors = [line for line in lines if ": error:" in line]
    assert [line.split(":")[1] for line in errors] == ["8", "9"]
