"""Batches that several threads compute side by side: the same bytes for any number of threads, videos and shards."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from actloc.encoders.base import ResizedFrames
from actloc.encoders.base_network import ClipEncoder
from actloc.extraction.batches import BatchedNetwork, workers
from actloc.extraction.local import encode_videos
from actloc.extraction.ray_workers import Vectors
from actloc.settings.sections import MachineSettings
from actloc.store.info import Features
from actloc.video import reader
from actloc.video.frame_transforms import Resize
from actloc.video.readers import pyav
from actloc.video.readers.base import DecodingStats
from tests.clips import spacing
from tests.extraction.in_memory import RowsInMemory
from tests.videos import Clips

NAMES = ("plain.mp4", "variable.mp4", "edit_list.mp4", "turned.mp4")
ONE_DECODER = MachineSettings(decoders=1)


class SumsConfig(ResizedFrames):
    short_side: int = 96

    def build(self) -> "Sums":
        return Sums()

    @classmethod
    def small(cls) -> "SumsConfig":
        return cls(name="sums")


class Sums(ClipEncoder):
    """Long sums, which torch adds up in another order where several threads share them."""

    channels = 1
    cpu_batch = 1

    def __init__(self) -> None:
        super().__init__(SumsConfig.small())
        self.threads_of_batches: list[int] = []

    def encode(self, clips: Tensor) -> Tensor:
        self.threads_of_batches.append(torch.get_num_threads())
        return torch.stack([clip.float().sqrt().sum() for clip in clips])[:, None, None]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """torch's number of threads, restored after the test."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def features(clips: Clips, names: tuple[str, ...], encoder: ClipEncoder, num_decoders: int = 1) -> dict[str, Features]:
    """The rows of each video."""
    sinks = {name: RowsInMemory() for name in names}
    videos = {name: clips[name] for name in names}
    dict(encode_videos(videos, encoder, spacing(), MachineSettings(decoders=num_decoders), sinks.__getitem__))
    return {name: sink.features for name, sink in sinks.items()}


@pytest.mark.usefixtures("forked_decoders")
def test_threads_shards_and_runs_change_no_byte(clips: Clips) -> None:
    torch.set_num_threads(1)
    expected = features(clips, NAMES, Sums())
    torch.set_num_threads(3)
    encoder = Sums()
    again = features(clips, NAMES, encoder, num_decoders=2)
    shards = features(clips, NAMES[::2], encoder) | features(clips, NAMES[1::2], encoder)
    assert len(expected) == len(NAMES)
    for name in NAMES:
        assert expected[name].tobytes() == again[name].tobytes() == shards[name].tobytes()
    assert set(encoder.threads_of_batches) == {1}
    assert torch.get_num_threads() == 3
    in_later_threads: list[int] = []
    later = threading.Thread(target=lambda: in_later_threads.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert in_later_threads == [3]


def test_several_batches_are_computed_at_a_time_and_their_number_is_bounded() -> None:
    torch.set_num_threads(2)
    both_compute = threading.Barrier(2)

    class Meeting(Sums):
        def encode(self, clips: Tensor) -> Tensor:
            both_compute.wait(60)  # broken unless two threads encode
            return super().encode(clips)

    encoder, owner = Meeting(), Vectors()
    with workers("cpu") as pool:
        network = BatchedNetwork(encoder, spacing(), ONE_DECODER, pool)
        for number in range(40):
            network.add(owner, [np.full((4, 8, 8, 3), number, np.uint8)])
            assert number + 1 - len(owner.vectors) <= 3
        network.finish()
    expected = [Sums().encode(torch.full((1, 4, 8, 8, 3), number)).item() for number in range(40)]
    assert [vectors.item() for vectors in owner.vectors] == expected


@pytest.mark.usefixtures("forked_decoders")
@pytest.mark.parametrize("fails_at", [0, 5])
def test_an_error_in_a_worker_is_raised_and_leaves_no_thread(clips: Clips, fails_at: int) -> None:
    torch.set_num_threads(2)

    class Failing(Sums):
        def encode(self, clips: Tensor) -> Tensor:
            if len(self.threads_of_batches) >= fails_at:
                raise ZeroDivisionError("made up")
            return super().encode(clips)

    with pytest.raises(ZeroDivisionError, match="made up"):
        features(clips, NAMES, Failing(), num_decoders=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encoder")]


def test_each_frame_is_decoded_once_and_crosses_once_in_its_final_size(
    clips: Clips, monkeypatch: pytest.MonkeyPatch, started: "list[subprocess.Popen[bytes]]"
) -> None:
    torch.set_num_threads(2)
    sizes: list[int] = []
    from_pipe = reader._Messages._from_pipe

    def counted(self: reader._Messages) -> tuple[bytes, int, bytes] | None:
        message = from_pipe(self)
        if message is not None and message[0] == b"F":
            sizes.append(len(message[2]))
        return message

    monkeypatch.setattr(reader._Messages, "_from_pipe", counted)
    summaries = []
    iterate = reader.FrameReader.__iter__

    def noting(self: reader.FrameReader) -> Iterator[reader.Frame]:
        yield from iterate(self)
        summaries.append(self.summary)

    monkeypatch.setattr(reader.FrameReader, "__iter__", noting)
    features(clips, ("plain.mp4",), Sums())
    (summary,) = summaries
    with av.open(str(clips["plain.mp4"])) as file:
        num_frames = sum(1 for _ in file.decode(video=0))
    assert summary.frames_decoded == num_frames
    assert len([process for process in started if "actloc.video.decode" in process.args]) == 1
    assert len(sizes) == summary.num_frames
    (resize,) = SumsConfig.small().frame_steps()
    assert isinstance(resize, Resize)
    height, width = resize.target(summary.height, summary.width)
    assert set(sizes) == {height * width * 3}


def test_decoding_opens_the_file_for_its_pictures_and_for_the_times_of_its_packets(
    clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    plain_open = av.open

    def noting(*arguments: object, **options: object) -> object:
        opened.append(Path(str(arguments[0])))
        return plain_open(*arguments, **options)  # type: ignore[arg-type,call-overload]

    monkeypatch.setattr(av, "open", noting)
    assert sum(1 for _ in pyav.pictures(clips["plain.mp4"], DecodingStats())) > 0
    assert len(opened) == 2
