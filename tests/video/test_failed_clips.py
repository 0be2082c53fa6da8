"""What becomes of a clip that cannot be read, of the process that tried, and of all other clips."""

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGSEGV

import numpy as np
import pytest

from actloc.errors import CodeError, VideoError
from actloc.settings import own_code
from actloc.video import clip_worker, listing
from actloc.video.base import MESSAGE, OPEN_VIDEOS
from actloc.video.channel import Channel
from actloc.video.clip_reader import ClipReader
from actloc.video.clip_worker import ClipWorker
from actloc.video.frame_transforms import FrameStep
from actloc.video.reader import read_frames
from tests.processes import descendants, is_at_work
from tests.videos import FPS, FRAMES, Clips

pytestmark = pytest.mark.usefixtures("forked_decoders")


@pytest.fixture(scope="module")
def reader() -> Iterator[ClipReader]:
    with ClipReader(1, fps=FPS) as shared:
        yield shared


def failure(act: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(VideoError) as caught:
        act()
    return caught.value.reason, caught.value.detail


BROKEN = [
    "only_sound.mp4",
    "index_last_cut.mp4",
    "index_first_cut.mp4",
    "sound_cut.mkv",
    "late_sound_cut.mkv",
    "sound_cut.avi",
]


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_video_is_named_by_the_reason_that_extraction_finds(clips: Clips, name: str, reader: ClipReader) -> None:
    expected = failure(lambda: list(read_frames(clips[name], fps=FPS)))
    assert failure(lambda: reader.times(clips[name])) == expected
    assert failure(lambda: reader.read(clips[name], [3], 4)) == expected
    assert reader.read(clips["plain.mp4"], [3], 4).shape == (1, 4, 64, 96, 3)


def test_of_a_video_with_a_hole_the_clips_without_it_can_be_read(clips: Clips, reader: ClipReader) -> None:
    whole = list(read_frames(clips["index_first.mp4"], fps=FPS))
    for _ in range(2):
        assert np.array_equal(reader.read(clips["hole.mp4"], [2, 50], 8), np.array([whole[2:10], whole[50:58]]))
        expected = failure(lambda: list(read_frames(clips["hole.mp4"], fps=FPS)))
        assert failure(lambda: reader.read(clips["hole.mp4"], [20], 20)) == expected


def test_what_is_no_file_is_not_opened(tmp_path: Path, clips: Clips, reader: ClipReader) -> None:
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{clips['plain.mp4']}'\n")
    assert failure(lambda: reader.times(tmp_path / "none.mp4"))[0] == "not_a_file"
    assert failure(lambda: reader.times(Path("http://127.0.0.1/x.mp4")))[0] == "not_a_file"
    assert failure(lambda: reader.times(tmp_path / "list.mp4"))[0] == "unreadable"
    assert reader.times(clips["plain.mp4"]).num_frames == FRAMES


def test_a_file_that_hangs_is_given_up_and_the_process_replaced(
    clips: Clips, set_fault: Callable[[str], None], started: list[subprocess.Popen[bytes]]
) -> None:
    set_fault("decode:1:hang")
    with ClipReader(1, fps=FPS, timeout_s=0.1) as reader:
        assert failure(lambda: reader.read(clips["plain.mp4"], [0], 4))[0] == "timeout"
        assert started[0].poll() is not None
        reader._timeout_s = 60.0
        assert reader.read(clips["plain.mp4"], [0], 4).shape == (1, 4, 64, 96, 3)
    assert len(started) == 2


def test_a_process_that_crashes_makes_its_file_unreadable_and_is_replaced(
    clips: Clips, set_fault: Callable[[str], None], started: list[subprocess.Popen[bytes]]
) -> None:
    set_fault("decode:1:hang")
    with ClipReader(1, fps=FPS) as reader, ThreadPoolExecutor(1) as thread:
        hanging = thread.submit(reader.read, clips["plain.mp4"], [0], 4)
        while not started:
            time.sleep(0.01)
        started[0].send_signal(SIGSEGV)
        reason, detail = failure(hanging.result)
        assert reason == "unreadable"
        assert "SIGSEGV" in detail
        assert reader.read(clips["plain.mp4"], [0], 4).shape == (1, 4, 64, 96, 3)


def test_a_process_that_ends_between_reads_is_replaced(clips: Clips, started: list[subprocess.Popen[bytes]]) -> None:
    with ClipReader(1, fps=FPS) as reader:
        first = reader.read(clips["plain.mp4"], [0], 4)
        started[0].kill()
        started[0].wait()
        assert np.array_equal(reader.read(clips["plain.mp4"], [0], 4), first)
    assert len(started) == 2


def test_a_closed_reader_reads_no_more_and_ends_what_waits(
    clips: Clips, set_fault: Callable[[str], None], started: list[subprocess.Popen[bytes]]
) -> None:
    set_fault("decode:1:hang")
    reader = ClipReader(1, fps=FPS)
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(reader.read, clips["plain.mp4"], [0], 4) for _ in range(2)]
        while not started:
            time.sleep(0.01)
        reader.close()
        for read in waiting:
            with pytest.raises(ValueError, match="the ClipReader is closed"):
                read.result()
    with pytest.raises(ValueError, match="the ClipReader is closed"):
        reader.times(clips["plain.mp4"])
    reader.close()
    assert all(process.poll() is not None for process in started)


def test_processes_outlive_the_thread_that_asked_first_and_die_with_their_parent(clips: Clips) -> None:
    code = (
        "import sys, threading, time\nfrom pathlib import Path\nfrom actloc.video.clip_reader import ClipReader\n"
        "reader, path = ClipReader(1, fps=30), Path(sys.argv[1])\n"
        "for _ in range(2):\n"
        "    thread = threading.Thread(target=lambda: print(reader.read(path, [5], 4).shape, flush=True))\n"
        "    thread.start()\n    thread.join()\n"
        "time.sleep(1e6)\n"
    )
    command = [sys.executable, "-c", code, str(clips["plain.mp4"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        said = [parent.stdout.readline() for _ in range(2)]
        workers = [pid for pid in descendants(parent.pid) if is_at_work(pid)]
        parent.kill()
    assert said == ["(1, 4, 64, 96, 3)\n"] * 2
    assert len(workers) == 1
    while any(map(is_at_work, workers)):  # a worker that lives on fails the test by its time limit
        time.sleep(0.05)


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def test_memory_and_open_files_stay_flat_over_many_reads(
    clips: Clips, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    sources = ["plain.mp4", "index_first.mp4", "sound.mkv", "sound.avi"]
    files = []
    for number in range(2 * OPEN_VIDEOS):
        source = clips[sources[number % len(sources)]]
        files.append(tmp_path / f"{number}{source.suffix}")
        files[-1].write_bytes(source.read_bytes())
    generator = np.random.default_rng(0)
    with ClipReader(1, fps=FPS) as reader:

        def read(times: int) -> tuple[int, int]:
            for _ in range(times):
                reader.read(files[generator.integers(len(files))], [int(generator.integers(FRAMES))], 16)
            pid = started[0].pid
            return resident_kb(pid), len(list(Path(f"/proc/{pid}/fd").iterdir()))

        memory, descriptors = read(100)
        later_memory, later_descriptors = read(400)
    assert later_descriptors <= descriptors + OPEN_VIDEOS
    assert later_memory - memory < 400 * 16 * 64 * 96 * 3 / 1024 / 20  # a twentieth of what was read


STEP = """\
import sys

from actloc.video.frame_transforms import FrameStep


class Negative(FrameStep):
    def apply(self, frame):
        if "torch" in sys.modules:
            raise RuntimeError("a worker starts slowly with torch")
        return 255 - frame


class Wrong(FrameStep):
    def apply(self, frame):
        return frame - white


class Every2nd(FrameStep):
    def over(self, frames):
        return (shown for number, shown in enumerate(frames) if number % 2)

    def apply(self, frame):
        return frame
"""


@pytest.fixture
def own_steps(tmp_path: Path) -> Iterator[dict[str, FrameStep]]:
    """Steps from a file of the user's own, by name."""
    (tmp_path / "my_steps.py").write_text(STEP)
    (tmp_path / "my_part.py").write_text("import my_steps\n\n\nclass Config:\n    pass\n")
    own_code.use(own_code.given([tmp_path], with_environment=False))
    module = own_code.imported("my_part").my_steps
    yield {name: getattr(module, name)() for name in ("Negative", "Wrong", "Every2nd")}
    own_code.use(())


def test_workers_run_steps_of_the_users_own(clips: Clips, own_steps: dict[str, FrameStep], reader: ClipReader) -> None:
    path = clips["plain.mp4"]
    plain = reader.read(path, [7], 4)
    assert np.array_equal(reader.read(path, [7], 4, steps=[own_steps["Negative"]]), 255 - plain)
    with pytest.raises(CodeError, match=r"my_steps\.py:15: in apply: NameError"):
        reader.read(path, [7], 4, steps=[own_steps["Wrong"]])
    with pytest.raises(CodeError, match="turned 4 frames into 2"):
        reader.read(path, [7], 4, steps=[own_steps["Every2nd"]])
    assert np.array_equal(reader.read(path, [7], 4), plain)


def answer(worker: ClipWorker, stream: io.BytesIO, **request: object) -> list[tuple[bytes, int, bytes]]:
    """The messages that answer a request."""
    stream.seek(0)
    stream.truncate()
    worker.serve(request)
    found, content = [], stream.getvalue()
    while content:
        kind, count, size = MESSAGE.unpack(content[: MESSAGE.size])
        found.append((kind, count, content[MESSAGE.size : MESSAGE.size + size]))
        content = content[MESSAGE.size + size :]
    return found


@pytest.fixture
def here() -> tuple[ClipWorker, io.BytesIO]:
    """A worker in this process, and what it writes."""
    stream = io.BytesIO()
    return ClipWorker({"fps": FPS, "decode_fps": None, "reader": "pyav"}, Channel(stream)), stream


@pytest.mark.parametrize("wrong", ["missing", "shifted", "longer"])
def test_a_list_of_packets_that_is_wrong_is_noticed_and_replaced(
    clips: Clips, here: tuple[ClipWorker, io.BytesIO], monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    true_list = listing._packets

    def listed(*arguments):  # type: ignore[no-untyped-def]
        found = true_list(*arguments)
        assert found is not None
        if wrong == "missing":
            object.__setattr__(found, "stamps", np.delete(found.stamps, 40))
        elif wrong == "shifted":
            found.stamps[40:] += 1
        else:
            object.__setattr__(found, "last_duration", 3 * found.last_duration)
        return found

    monkeypatch.setattr(listing, "_packets", listed)
    path, start = clips["index_first.mp4"], 56 if wrong == "longer" else 38
    request = {"task": "clips", "path": str(path), "first_frames": [start], "clip_frames": 4, "frame_interval": 1}
    messages = answer(*here, **request, steps=[])
    begun = [json.loads(content)["slots"] for kind, _, content in messages if kind == b"S"]
    assert len(begun) <= 2
    frames = [np.frombuffer(content, np.uint8) for kind, _, content in messages if kind == b"F"][-4:]
    whole = list(read_frames(path, fps=FPS))
    assert np.array_equal(frames, [frame.ravel() for frame in whole[start : start + 4]])
    assert json.loads(messages[-1][2])["frames_decoded"] > FRAMES
    again = answer(*here, **request, steps=[])
    assert json.loads(again[-1][2])["frames_decoded"] <= FRAMES


def test_lists_of_pictures_are_bounded(
    clips: Clips, here: tuple[ClipWorker, io.BytesIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_worker, "_LISTED_PICTURES", 2 * FRAMES)
    for name in ("plain.mp4", "sound.mkv", "index_first.mp4", "plain.mp4"):
        answer(*here, task="times", path=str(clips[name]), steps=[])
        assert sum(len(listed.numbers) for listed in here[0]._listings.values()) <= 2 * FRAMES
