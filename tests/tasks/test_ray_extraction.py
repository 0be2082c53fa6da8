"""Extraction on Ray: the pieces of a video without a cluster, and the engine on a local one of two CPUs."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from actloc.config import Machine
from actloc.encoders.color import Config as Color
from actloc.errors import EnvironmentProblem, UserError
from actloc.sources.stored import Config as Stored
from actloc.tasks import ray_extraction
from actloc.tasks.ray_extraction import ArrivingVideo, _clip_pieces
from actloc.tasks.rows import RowsInMemory
from actloc.video import windows
from tests.toy import actloc, digests, make_toy, start


def grid(**settings: object) -> Stored:
    return Stored(**{"path": Path("unused"), "fps": 15.0, "clip_frames": 4, "stride_frames": 2, **settings})


@pytest.mark.parametrize("align", ["valid", "backpad", "centred"])
@pytest.mark.parametrize(("length", "stride", "interval"), [(8, 3, 1), (8, 3, 2), (4, 9, 1), (6, 6, 3)])
@pytest.mark.parametrize("count", [1, 3, 100])
def test_the_clips_of_all_pieces_are_those_of_the_video(
    align: str, length: int, stride: int, interval: int, count: int
) -> None:
    frames = [np.full((1, 1, 1), number) for number in range(50)]
    settings = grid(align=align, clip_frames=length, stride_frames=stride, frame_interval=interval)
    found = []
    for listed, places in _clip_pieces(frames, settings, count):
        assert places is not None
        assert len(places) <= count
        found += [listed[one] for one in places]
    expected = [clip[::interval] for clip in windows.clips(frames, settings.align, length, stride)]
    assert np.array_equal(np.stack(found), np.stack(expected))


def test_frames_that_clips_share_are_sent_once_in_a_piece() -> None:
    frames = [np.full((1, 1, 1), number) for number in range(64)]
    pieces = list(_clip_pieces(frames, grid(clip_frames=16, stride_frames=4), 5))
    assert [len(listed) for listed, _ in pieces] == [32, 32, 24]
    assert sum(len(places) for _, places in pieces if places is not None) == 13


def piece(number: int, vectors: list[list[float]]) -> ray_extraction.Row:
    content = ray_extraction._to_bytes((np.array(vectors, np.float32), None))
    return {"video_id": "v", "number": number, "piece": content, "end": ""}


def test_pieces_in_any_order_and_twice_give_the_rows_in_order(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"video")
    encoder = Color().build()
    encoder.is_framewise = False
    rows = RowsInMemory()
    video = ArrivingVideo("v", tmp_path / "v.mp4", encoder, grid(), rows)
    summary = {"frames_decoded": 6, "corrupt_frames": 0, "num_frames": 10, "fps": 15.0, "duration_s": 0.7}
    summary |= {"width": 4, "height": 4, "reader": "pyav"}
    end = {"video_id": "v", "number": 2, "piece": b"", "end": json.dumps({"summary": summary})}
    for row in (end, piece(1, [[3, 4]]), piece(1, [[3, 4]])):
        assert video.take(row) is None
    info = video.take(piece(0, [[1, 2], [2, 3]]))
    assert np.array_equal(rows.features, [[1, 2], [2, 3], [3, 4]])
    assert (info.steps, info.frame_count) == (3, 10)  # type: ignore[union-attr]
    assert video.take(piece(0, [[1, 2], [2, 3]])) is None


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install actloc\[ray\]"):
        ray_extraction.check_installed()


def test_learned_flow_is_not_taken_apart() -> None:
    encoder = Color().build()
    encoder.makes_frames = True
    with pytest.raises(UserError, match="computes its frames by a network"):
        next(ray_extraction.encode_videos({}, encoder, grid(), Machine(), lambda _: RowsInMemory()))


def test_a_cluster_that_cannot_be_joined_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def refuse(**_: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster at 192.0.2.2:6379")

    monkeypatch.setattr(ray, "init", refuse)
    encoding = ray_extraction.encode_videos({}, Color().build(), grid(), Machine(), lambda _: RowsInMemory())
    with pytest.raises(EnvironmentProblem, match=r"cluster at 192\.0\.2\.2:6379"):
        next(encoding)


def test_an_encoders_weights_are_found_from_the_folder_where_the_work_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    color = Color()
    built = color.build()
    monkeypatch.setattr(Color, "build", lambda _: seen.append(Path.cwd()) or built)
    before = Path.cwd()
    ray_extraction.Encoding(color, grid(), Machine(), "cpu", torch.get_num_threads(), str(tmp_path))
    assert (seen, Path.cwd()) == ([tmp_path], before)


def workers(word: str) -> list[int]:
    """The processes of Ray that do `word`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if command.startswith("ray::") and word in command and "__init__" not in command:
            found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for Ray's workers in /proc")
@pytest.mark.parametrize("stage", ["Decoding", "Encoding"])
def test_a_killed_worker_costs_nothing(tmp_path: Path, stage: str) -> None:
    pytest.importorskip("ray")
    folder = make_toy(tmp_path / "toy")
    (folder / "videos/broken.mp4").write_text("no video")
    plain = actloc(folder, "extract-features", "toy.yaml", "features.path=plain")
    assert plain.returncode == 3, plain.stderr
    with start(folder, "extract-features", "toy.yaml", "features.path=rayed", "--engine", "ray") as process:
        deadline, killed = time.monotonic() + 120, []
        while process.poll() is None and not killed and time.monotonic() < deadline:
            for worker in workers(stage)[:1]:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)
            time.sleep(0.01)
        stdout, stderr = process.communicate(timeout=200)
    assert killed, "no worker was seen"
    assert process.returncode == 3, stderr
    assert "features" in stdout + stderr
    assert digests(folder / "rayed") == digests(folder / "plain")
    failed = [json.loads(line) for line in (folder / "rayed/failed.jsonl").read_text().splitlines()]
    assert [(row["id"], row["reason"]) for row in failed] == [("broken", "unreadable")]
