"""Extraction on Ray: what comes back of a video without a cluster, and the engine on a local one of two CPUs."""

import errno
import json
import os
import re
import signal
import socket
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actloc.encoders.color import Config as Color
from actloc.errors import EnvironmentProblem, UserError, VideoError
from actloc.extraction import ray_cluster, ray_workers
from actloc.extraction.ray_cluster import ArrivingVideo, cluster
from actloc.extraction.ray_pieces import to_bytes
from actloc.extraction.ray_workers import Decoding, EncoderCopy, Encoding, Row
from actloc.settings.sections import MachineSettings
from actloc.store.filling import state_of
from actloc.video.windows import Picking
from tests.clips import spacing
from tests.extraction.in_memory import RowsInMemory
from tests.processes import command_of, descendants, is_at_work
from tests.toy import Running, actloc, digests, make_toy, start

SUMMARY = {
    "frames_decoded": 6,
    "corrupt_frames": 0,
    "num_frames": 10,
    "fps": 15.0,
    "duration_s": 0.7,
    "width": 4,
    "height": 4,
    "reader": "pyav",
}


def piece(number: int, vectors: list[Any], picking: Picking | None = None) -> Row:
    content = to_bytes((np.array(vectors, np.float32), None))
    picking_text = json.dumps(asdict(picking) if picking else None)
    return {"video_id": "v", "number": number, "piece": content, "end": "", "picking": picking_text}


def end(what: dict[str, object], number: int) -> Row:
    return {"video_id": "v", "number": number, "piece": b"", "end": json.dumps(what), "picking": "null"}


def test_pieces_in_any_order_and_twice_give_the_rows_in_order(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"video")
    encoder = Color().build()
    encoder.is_framewise = False
    rows = RowsInMemory()
    video = ArrivingVideo("v", tmp_path / "v.mp4", encoder, spacing(), rows)
    for row in (
        end({"summary": SUMMARY, "state": state_of([tmp_path / "v.mp4"])}, number=2),
        piece(1, [[[3, 4]]]),
        piece(1, [[[3, 4]]]),
    ):
        assert video.take(row) is None
    info = video.take(piece(0, [[[1, 2]], [[2, 3]]]))
    assert np.array_equal(rows.features, [[1, 2], [2, 3], [3, 4]])
    assert (info.steps, info.frame_count) == (3, 10)  # type: ignore[union-attr]
    assert video.take(piece(0, [[[1, 2]], [[2, 3]]])) is None


def test_a_node_that_does_not_start_in_time_is_not_called_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # Ray's own class

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(EnvironmentProblem, match=r"Ray failed: The current node timed out") as raised, cluster():
        pass
    assert "run the same command again" in raised.value.fix


def test_vectors_of_frames_are_pooled_over_the_frames_that_clips_pick(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"video")
    encoder, rows, picking = Color().build(), RowsInMemory(), Picking(25.0, 15.0)
    vectors = np.random.default_rng(0).random((30, encoder.channels), dtype=np.float32)
    video = ArrivingVideo("v", tmp_path / "v.mp4", encoder, spacing(), rows)
    for number in range(3):
        video.take(piece(number, vectors[10 * number : 10 * number + 10].tolist(), picking))
    info = video.take(
        end({"summary": {**SUMMARY, "num_frames": 18}, "state": state_of([tmp_path / "v.mp4"])}, number=3)
    )
    starts = [0, 3, 6, 10, 13, 16, 20, 23]  # places 0, 2, 4, ... 14 of 18
    clips = np.stack([vectors[[start, start + 1, start + 3, start + 5]] for start in starts])
    expected = encoder.pool_frames(torch.from_numpy(clips))[:, :, 0].numpy()
    np.testing.assert_allclose(rows.features, expected, rtol=1e-6)
    assert (info.steps, info.frame_count) == (8, 18)  # type: ignore[union-attr]


def test_a_video_that_was_replaced_on_the_way_is_not_stored(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"video")
    before = state_of([path])
    path.write_bytes(b"another")
    encoder = Color().build()
    encoder.is_framewise = False
    video = ArrivingVideo("v", path, encoder, spacing(), RowsInMemory())
    video.take(piece(0, [[[1, 2]], [[2, 3]], [[3, 4]]]))
    error = video.take(end({"summary": SUMMARY, "state": before}, number=1))
    assert isinstance(error, VideoError)
    assert error.reason == "damaged"


def test_what_the_system_of_a_machine_refuses_is_a_problem_of_that_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files", "v.mp4")

    monkeypatch.setattr(ray_workers, "read_frames", too_many)
    decoding = Decoding((), spacing(), MachineSettings(), 4, False)
    (row,) = decoding({"video_id": np.array(["v"]), "path": np.array([str(tmp_path / "v.mp4")])})
    video = ArrivingVideo("v", tmp_path / "v.mp4", Color().build(), spacing(), RowsInMemory())
    with pytest.raises(EnvironmentProblem, match=f"On {socket.gethostname()}: .*Too many open files: 'v.mp4'"):
        video.take({name: values[0] for name, values in row.items()})


def test_decoding_and_encoding_fit_beside_each_other_on_any_cluster() -> None:
    for num_cpus in (1, 2, 16):
        decoding, encoding = ray_cluster.cpus_of_stages(num_cpus, 0)
        actors = max(1, num_cpus // 2)
        assert decoding + actors * encoding <= num_cpus
        assert decoding != encoding  # or Ray would fuse both into one stage
    assert ray_cluster.cpus_of_stages(1, 1) == (1, 0)  # a GPU encodes


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install actloc\[ray\]"):
        ray_cluster.check_installed()


def test_learned_flow_is_not_taken_apart() -> None:
    encoder = Color().build()
    encoder.makes_frames = True
    with pytest.raises(UserError, match="computes optical flow with a network"):
        next(ray_cluster.encode_videos({}, encoder, spacing(), MachineSettings(), lambda _: RowsInMemory()))


def test_a_warning_reports_corrupt_frames_as_without_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "v.mp4").write_bytes(b"video")
    encoder = Color().build()
    encoder.is_framewise = False
    video = ArrivingVideo("v", tmp_path / "v.mp4", encoder, spacing(), RowsInMemory())
    video.take(piece(0, [[[1, 2]]]))
    video.take(end({"summary": {**SUMMARY, "corrupt_frames": 2}, "state": state_of([tmp_path / "v.mp4"])}, number=1))
    assert "v: 2 of 6 frames have decoding errors" in capsys.readouterr().err


def test_a_missing_weights_file_on_a_machine_of_the_cluster_is_an_error_for_the_user(tmp_path: Path) -> None:
    other_weights = replace(EncoderCopy.of(Color().build(), "cpu"), weights_sha256="0" * 64)
    answer = Encoding(other_weights, spacing(), MachineSettings())(
        {name: np.array([value]) for name, value in piece(0, [[[1, 2]]]).items()}
    )
    video = ArrivingVideo("v", tmp_path / "v.mp4", Color().build(), spacing(), RowsInMemory())
    with pytest.raises(UserError, match=f"On {socket.gethostname()}: The encoder's weights have sha256 None"):
        video.take({name: values[0] for name, values in answer.items()})


def test_a_copy_is_built_where_the_paths_of_the_settings_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copy = EncoderCopy.of(Color().build(), "cpu")
    folders, build = [], Color.build
    monkeypatch.setattr(Color, "build", lambda config: folders.append(Path.cwd()) or build(config))
    monkeypatch.chdir("/")
    copy.build()
    assert folders == [tmp_path]
    assert Path.cwd() == Path("/")


def test_no_videos_start_no_cluster() -> None:
    assert (
        list(ray_cluster.encode_videos({}, Color().build(), spacing(), MachineSettings(), lambda _: RowsInMemory()))
        == []
    )


def test_an_unreachable_cluster_is_reported_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def refuse(**_: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster at 192.0.2.2:6379")

    monkeypatch.setattr(ray, "init", refuse)
    videos = {"v": Path("v.mp4")}
    encoding = ray_cluster.encode_videos(
        videos, Color().build(), spacing(), MachineSettings(), lambda _: RowsInMemory()
    )
    with pytest.raises(EnvironmentProblem, match=r"cluster at 192\.0\.2\.2:6379"):
        next(encoding)


def workers_at(word: str, running: Running) -> list[int]:
    """The processes of the command's cluster that do `word`; waits for the first, none if the command ends before."""
    while running.poll(0.05) is None:
        commands = {pid: command_of(pid) for pid in descendants(running.pid)}
        found = [pid for pid, command in commands.items() if re.match(rf"ray::(?!.*__init__).*{word}", command)]
        if found:
            return found
    return []


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
        workers = workers_at(stage, process)
        assert workers, process.communicate()
        os.kill(workers[0], signal.SIGKILL)
        stdout, stderr = process.communicate()
    assert process.returncode == 3, stderr
    assert "features" in stdout + stderr
    assert digests(folder / "rayed") == digests(folder / "plain")
    failed = [json.loads(line) for line in (folder / "rayed/failed.jsonl").read_text().splitlines()]
    assert [(row["id"], row["reason"]) for row in failed] == [("broken", "unreadable")]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for Ray's workers in /proc")
def test_a_signal_ends_the_work_and_the_cluster(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    folder = make_toy(tmp_path / "toy")
    with start(folder, "extract-features", "toy.yaml", "--engine", "ray") as process:
        seen = workers_at("MapBatches", process)
        assert seen, process.communicate()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert "Traceback" not in stderr
    assert not [worker for worker in seen if is_at_work(worker)]
