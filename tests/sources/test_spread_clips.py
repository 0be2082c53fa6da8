"""`resize_by: clips`: as many clips as steps, spread over the whole video, and what does not go with that."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.errors import UserError
from actloc.ops.cascade import as_parts
from actloc.settings.sections import MachineSettings
from actloc.sources import folders, stored
from actloc.sources.encoded import Config
from actloc.structures import Visit
from tests.sources.test_encoded import CPU, SCENE, Build, build, config, payload, rows
from tests.videos import Clips

__all__ = ["build"]  # the fixture

SPREAD: dict[str, Any] = {"resize_by": "clips", "max_steps": 64}


@pytest.mark.parametrize("count", [5, 20, 200])  # of 30 frames: with gaps between clips of 4, overlapping, repeated
def test_features_are_those_of_the_clips_that_the_rule_names(build: Build, clips: Clips, count: int) -> None:
    source = build(config(preset="frozen", resize_to=count, **SPREAD))
    sample = source.evaluation_sample(0)
    window = payload(sample)
    num_frames = window.num_frames
    firsts = np.round(np.arange(count) * (num_frames - 4) / (count - 1)).astype(int)
    assert sample.payload.shape == (source.in_channels, count)
    read = source.live.reader.read(clips["plain.mp4"], firsts.tolist(), 4)
    with torch.inference_mode():
        expected = source.live.encoder.encode(torch.from_numpy(read))[:, :, 0].T
    torch.testing.assert_close(rows(source, sample), expected, rtol=1e-4, atol=1e-4)


def test_frames_that_clips_share_are_decoded_once(build: Build) -> None:
    source = build(config(preset="frozen", resize_to=100, **SPREAD))
    window = payload(source.evaluation_sample(0))
    before = source.live.reader.frames_decoded
    window.loaded(source.live.reader)
    decoded_for_spread = source.live.reader.frames_decoded - before
    strided = build(config(preset="frozen", clip_frames=4, stride_frames=4))
    payload(strided.evaluation_sample(0)).loaded(strided.live.reader)
    assert decoded_for_spread <= 1.1 * strided.live.reader.frames_decoded + 4


def test_step_i_is_part_i_of_the_video(build: Build) -> None:
    source = build(config(preset="frozen", resize_to=20, **SPREAD))
    sample, (video,) = source.evaluation_sample(0), source.videos
    num_frames = payload(sample).num_frames
    assert (sample.grid.stride_frames, sample.grid.offset_frames) == (num_frames / 20, num_frames / 40)
    duration_s = num_frames / sample.grid.fps
    edges = torch.linspace(0, duration_s, 21)
    torch.testing.assert_close(sample.grid.steps(edges), torch.arange(21) - 0.5)
    torch.testing.assert_close(as_parts(sample.grid.steps(edges), 20), torch.linspace(0, 1, 21))  # as ETAD's detector
    action = torch.tensor([[SCENE[0].start_s, SCENE[0].end_s]])
    torch.testing.assert_close(as_parts(sample.targets.segments, 20), action / duration_s)
    assert video.duration_s == pytest.approx(duration_s, abs=0.1)


def test_a_shorter_window_has_its_own_clips_alone(build: Build) -> None:
    source = build(config(preset="etad", resize_to=40, resize_by="clips", max_steps=10))
    whole = rows(source, source.evaluation_sample(0))
    sample = source.training_sample(0, random.Random(3))
    window = payload(sample)
    assert (len(window.clips), len(window.learning), sample.num_steps) == (10, 4, 10)
    assert window.held is not None
    expected = whole[:, sample.first_step : sample.first_step + 10]
    torch.testing.assert_close(rows(source, sample), expected, rtol=1e-4, atol=1e-4)
    longest = payload(source.longest_sample(0))
    assert (len(longest.clips), longest.num_bytes) == (10, 10 * 4 * 32 * 32 * 3)


def test_forty_of_128_clips_learn_and_the_oldest_are_the_same_clips_in_every_visit(build: Build) -> None:
    source = build(config(preset="etad", resize_to=128, resize_by="clips", max_steps=128, choice="oldest"))
    drawn = []
    for epoch in range(3):
        visit = Visit(seed=1, epoch=epoch)
        drawn.append(payload(source.training_sample(0, visit.generator(0), visit)).learning)
    assert [len(learning) for learning in drawn] == [40, 40, 40]
    assert len(frozenset.union(*drawn)) == 120  # none twice before each had its turn
    assert source.num_learning(128) == 40


def test_a_video_of_one_clip_gives_all_steps_and_a_shorter_one_is_refused(clips: Clips) -> None:
    for frames, message in ((60, ""), (4, ""), (500, "shorter than one clip")):
        made = config(preset="frozen", resize_to=8, clip_frames=frames, stride_frames=frames, **SPREAD)
        live = made.live_encoder(CPU, MachineSettings(), "float32", None)
        videos = {"v": AnnotatedVideo("v", "train", (Action(0.2, 0.6, "run"),), file=clips["plain.mp4"])}
        times = live.reader.times(clips["plain.mp4"])
        try:
            if frames > times.num_frames:
                with pytest.raises(UserError, match="0 of 1 video"):
                    made.build(Annotations(("run",), videos), "train", live)
            else:
                source = made.build(Annotations(("run",), videos), "train", live)
                assert source.evaluation_sample(0).num_steps == 8, message
        finally:
            live.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize_by": "clips"}, "resize_by: found clips, which has no effect because resize_to is null"),
        ({"resize_by": "roi_align", "resize_to": 9},
         r"resize_by: found roi_align, expected interpolation, clips or frames, because features\.name=encoded"),
        ({"resize_by": "clips", "resize_to": 9, "align": "centred"}, "align: found centred, expected valid, because"),
        ({"resize_by": "clips", "resize_to": 9, "preset": "bank_replay", "bank": "x"},
         r"others: found bank, expected no_gradient, because stored features are of clips at features\.stride_frames"),
        ({"resize_by": "clips", "resize_to": 9, "clip_origin": "window"},
         "resize_to: found 9, which has no effect because windows have their own clips"),
        ({"resize_by": "clips", "resize_to": 9, "encode_padding": True}, "encode_padding: found True, which has no"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_spread_clips_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**settings)


@pytest.mark.parametrize("source", [stored, folders])
def test_stored_features_cannot_be_of_other_clips(source: Any) -> None:
    grid = {"path": "x", "fps": 8.0, "clip_frames": 2, "stride_frames": 2, "resize_to": 9, "resize_by": "clips"}
    with pytest.raises(ValidationError, match=r"expected interpolation or roi_align, because .* reads stored features"):
        source.Config.model_validate(grid)


def test_an_encoder_of_several_vectors_of_a_clip_is_refused() -> None:
    encoder = {"name": "video_swin", "size": {"dim": 8, "depths": [1] * 4, "heads": [1] * 4}, "side": 32, "crop": 32}
    settings = {"fps": 8.0, "clip_frames": 16, "stride_frames": 8, "resize_to": 9, "resize_by": "clips"}
    made = Config.model_validate({"encoder": encoder, **settings})
    with pytest.raises(UserError, match=r"8 vectors of each clip(.|\n)*evenly spaced(.|\n)*resize_by=interpolation"):
        made.live_encoder(CPU, MachineSettings(), "float32", None)
