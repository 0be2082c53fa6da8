"""Long videos whose features an encoder makes during detection: each clip is encoded once, though windows overlap."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.detectors.temporalmaxer import Config
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.runs import encoded_once as module
from actloc.runs import localizer as localizer_module
from actloc.runs.localizer import Localizer
from actloc.settings.detections import SuppressionSettings
from actloc.settings.sections import MachineSettings
from actloc.sources import encoded
from actloc.sources.encoded.source import EncodedSource
from actloc.structures import Batch, Detections
from tests.golden.cases import unmatched

CPU = torch.device("cpu")
DURATION_S = 60.0  # 120 steps


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> encoded.Config:
    monkeypatch.chdir(tmp_path)
    video = AnnotatedVideo("v", "test", (), DURATION_S, file=Path("v.mp4"))
    return encoded.Config.small(tmp_path, Annotations((), {"v": video}))


@pytest.fixture
def live(settings: encoded.Config) -> Iterator[LiveEncoder]:
    live = settings.live_encoder(CPU, MachineSettings(num_workers=1), "float32", None)
    yield live
    live.close()


@pytest.fixture
def encoded_clips(live: LiveEncoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of clips of each call of the encoder."""
    calls: list[int] = []
    encode = live.encoder.encode

    def counted(clips: Tensor) -> Tensor:
        calls.append(len(clips))
        return encode(clips)

    monkeypatch.setattr(live.encoder, "encode", counted)
    return calls


def source_of(settings: encoded.Config, live: LiveEncoder, **changes: Any) -> EncodedSource:
    return settings.model_copy(update=changes).of_file(Path("v.mp4"), live)


def detections(source: EncodedSource) -> Detections:
    torch.manual_seed(0)
    config = Config.model_validate(Config.small().model_dump() | {"max_buffer_factor": 100})
    detector = config.build(source.in_channels, 2, 16)
    localizer = Localizer(detector, CPU, "float32", SuppressionSettings(method="none"), 16)
    return localizer.detect_one(source, source.evaluation_samples(0), DURATION_S)


@pytest.mark.parametrize("origin", ["video", "window"])
def test_each_clip_is_encoded_once_in_the_same_calls_and_the_segments_are_the_same(
    origin: str,
    settings: encoded.Config,
    live: LiveEncoder,
    encoded_clips: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 20)
    source = source_of(settings, live, clip_origin=origin)
    in_windows, calls = detections(source), list(encoded_clips)
    assert sum(calls) == 120
    encoded_clips.clear()
    monkeypatch.setattr(localizer_module, "longest_whole", lambda _: None)
    assert unmatched(in_windows, detections(source), seconds=1e-4, score=1e-5) == ([], [])
    assert encoded_clips == calls


@pytest.mark.parametrize("start", [0, 7])
def test_the_rows_are_those_of_the_whole_to_the_last_bit(
    start: int, settings: encoded.Config, live: LiveEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 20)
    source = source_of(settings, live)
    (sample,) = source.evaluation_samples(0)
    window = sample.part(start, 100, sample.targets)
    whole = source.features(Batch((window,)), 100, CPU)[0]
    with module.RowsInFile() as rows:
        assert torch.equal(module.encoded_once(source, window, rows).features, whole)


def test_rows_that_several_clips_make_are_made_of_the_whole_video(
    settings: encoded.Config, live: LiveEncoder, encoded_clips: list[int]
) -> None:
    source, other = source_of(settings, live), source_of(settings, live, steps_per_clip=2)
    (sample,), (interpolated,) = source.evaluation_samples(0), other.evaluation_samples(0)
    assert module.is_made_in_parts(source, sample)
    assert not module.is_made_in_parts(other, interpolated)
    detections(other)
    assert sum(encoded_clips) == 120
