"""Windows whose clips begin elsewhere than those of extraction, and windows that are encoded beyond the video's end.

The grey of frame n is n, so a feature says which frames it was made of: with clips of 4 frames, the mean of four.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.encoders.base_network import built
from actloc.end_to_end.clip_window import ClipWindow
from actloc.settings.sections import MachineSettings
from actloc.sources.encoded import Config
from actloc.sources.encoded.source import EncodedSource
from actloc.structures import Batch, Sample, Visit
from tests.extraction.in_memory import encode_video

CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {
    "encoder": {"name": "color", "short_side": 16},
    "fps": 10.0,
    "clip_frames": 4,
    "stride_frames": 4,
    "max_steps": 8,
    "crop_ratio": None,
    "align": "padded",
    "outside": "black",
}
ENCODER = {"name": "efficientnet_lite0", "short_side": 32, "crop": 32}
NUM_FRAMES = 61
ACTION = Action(2.0, 3.0, "run")  # frames 20 to 30


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    for number in range(NUM_FRAMES):
        Image.new("RGB", (16, 16), (number, number, number)).save(folder / f"{number + 1:06d}.png")
    (folder / "frames.json").write_text(json.dumps({"fps": 10, "count": NUM_FRAMES}))
    return folder


@pytest.fixture
def build(frames: Path) -> Iterator[Any]:
    held = []

    def source(**settings: Any) -> EncodedSource:
        made = Config.model_validate({**SETTINGS, **settings})
        live = made.live_encoder(CPU, MachineSettings(num_workers=1), "float32", None)
        held.append(live)
        return made.build(
            Annotations(("run",), {"v": AnnotatedVideo("v", "train", (ACTION,), file=frames)}), "train", live
        )

    yield source
    for live in held:
        live.close()


def greys(source: EncodedSource, sample: Sample, num_steps: int) -> list[float]:
    """The mean frame number of each row."""
    features = source.features(Batch((sample,)), num_steps, CPU)[0]
    return [round(float(value), 2) for value in 255 * features[0]]


def mean_of(first: int) -> float:
    """Of four frames, black outside the video."""
    return sum(number for number in range(first, first + 4) if 0 <= number < NUM_FRAMES) / 4


def window(sample: Sample) -> ClipWindow:
    assert isinstance(sample.payload, ClipWindow)
    return sample.payload


def test_padded_clips_cover_the_video_and_the_last_row_has_what_is_outside(build: Any, frames: Path) -> None:
    source = build()
    sample = source.evaluation_sample(0)
    assert sample.num_steps == 16
    assert greys(source, sample, 16) == [mean_of(4 * row) for row in range(16)]
    extracted, info = encode_video(frames, built(source.config.encoder), source.config.spacing, MachineSettings())
    assert info.steps == 16
    np.testing.assert_allclose(255 * extracted[:15, 0], [mean_of(4 * row) for row in range(15)], atol=0.01)
    assert 255 * extracted[15, 0] == pytest.approx(60.0)  # extraction repeats the last frame


def test_training_windows_begin_at_any_frame_and_their_clips_with_them(build: Any) -> None:
    source = build(clip_origin="window", step_time="start", empty_windows=True)
    starts = set()
    for epoch in range(12):
        visit = Visit(epoch=epoch)
        sample = source.training_sample(0, visit.generator(0), visit)
        first = window(sample).layout.first_frames[0]
        starts.add(first % 4)
        assert sample.num_steps == 8
        assert greys(source, sample, 8) == [mean_of(first + 4 * row) for row in range(8)]
        for start, end in (sample.targets.segments * 4 + first).tolist():
            assert (start, end) == pytest.approx((max(20, first), min(30, first + 32)))
        assert window(sample).layout.stored_row_of(0) == first // 4
    assert len(starts) > 1


def test_clips_that_begin_before_the_window_give_its_own_rows(build: Any) -> None:
    source = build(clip_origin="random", step_time="start", max_steps=64)
    starts = set()
    for epoch in range(12):
        visit = Visit(epoch=epoch)
        sample = source.training_sample(0, visit.generator(0), visit)
        first = window(sample).layout.first_frames[0]
        starts.add(first)
        assert -4 < first <= 0
        assert sample.num_steps == 16
        assert greys(source, sample, 16) == [mean_of(first + 4 * row) for row in range(16)]
        assert window(sample).layout.stored_row_of(0) == first // 4  # -1 for all that begin before the video
        assert (sample.targets.segments * 4).tolist() == [pytest.approx([20, 30])]
    assert starts == {-3, -2, -1, 0}


def test_each_detection_window_encodes_its_own_clips_and_the_last_one_is_cut(build: Any) -> None:
    source = build(clip_origin="window", window_steps=6, window_overlap=0.5, last_window="short", align="padded")
    samples = source.evaluation_samples(0)
    assert [(sample.first_step, sample.num_steps) for sample in samples] == [(0, 6), (3, 6), (6, 6), (9, 6), (12, 4)]
    for sample in samples:
        expected = [mean_of(4 * (sample.first_step + row)) for row in range(sample.num_steps)]
        assert greys(source, sample, sample.num_steps) == expected


@pytest.mark.parametrize("origin", ["video", "window", "random"])
def test_padding_is_encoded_where_the_detector_looks_at_it(build: Any, origin: str) -> None:
    source = build(encode_padding=True, clip_origin=origin, max_steps=20, window_steps=20, outside="black")
    (sample,) = source.evaluation_samples(0)
    assert sample.num_steps == 16
    assert window(sample).num_bytes == 20 * 4 * 16 * 16 * 3
    assert greys(source, sample, 20) == [mean_of(4 * row) for row in range(20)]
    trained = source.training_sample(0, random.Random(0))
    assert trained.num_steps == 16
    features = source.features(Batch((trained,)), 20, CPU)[0]
    assert not features[:, 16:].any()  # black, and without deviation


def test_padding_that_is_not_encoded_is_zero(build: Any) -> None:
    source = build(max_steps=20)
    assert greys(source, source.evaluation_sample(0), 20)[16:] == [0.0] * 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_origin": "window", "resize_to": 8}, "resize_to: found 8, which has no effect"),
        ({"clip_origin": "random", "choice": "oldest", "fraction": 0.5}, "choice: found oldest"),
        ({"others": "bank", "fraction": 0.5}, "bank: is missing"),
        ({"others": "bank", "bank": "stored"}, "others: found bank, which has no effect because features.fraction"),
    ],
)
def test_settings_that_do_not_fit_together_are_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate({**SETTINGS, **settings, "encoder": ENCODER})


@pytest.mark.parametrize(("align", "offset"), [("valid", 0.0), ("padded", 0.0), ("centred", -2.0)])
def test_steps_may_stand_for_the_start_of_their_frames(build: Any, align: str, offset: float) -> None:
    source = build(align=align, step_time="start")
    assert source.evaluation_sample(0).grid.offset_frames == offset


@pytest.mark.parametrize(("origin", "clips"), [("window", 10), ("random", 11)])
def test_the_longest_sample_has_the_clips_of_padding_and_of_a_shifted_grid(
    build: Any, origin: str, clips: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actloc.encoders.color.network.Color.vectors_per_clip", lambda self, num_frames: 2)
    source = build(encode_padding=True, clip_origin=origin, max_steps=20)
    assert len(window(source.longest_sample(0)).clips) == clips
    drawn = [source.training_sample(0, random.Random(seed)) for seed in range(6)]
    assert max(len(window(sample).clips) for sample in drawn) == clips
