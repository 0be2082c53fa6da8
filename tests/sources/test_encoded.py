"""Features made in every step: which clips learn, what is read and held, settings without effect, broken videos."""

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from actloc import experiment
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.encoders.base_network import built
from actloc.end_to_end.clip_window import ClipWindow
from actloc.errors import UserError, VideoError
from actloc.settings.sections import MachineSettings
from actloc.sources.encoded import Config
from actloc.sources.encoded.source import EncodedSource
from actloc.structures import Batch, Sample, Visit
from tests.extraction.in_memory import encode_video
from tests.videos import Clips

CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {"fps": 15.0, "clip_frames": 4, "stride_frames": 2, "max_steps": 8, "crop_ratio": None}
SCENE = (Action(0.2, 0.6, "run"),)


def config(**settings: Any) -> Config:
    encoder = {"name": "efficientnet_lite0", "short_side": 32, "crop": 32, **settings.pop("encoder", {})}
    return Config.model_validate(Config.expanded({**SETTINGS, "encoder": encoder, **settings}))


Build = Callable[..., EncodedSource]


@pytest.fixture
def build(clips: Clips) -> Iterator[Build]:
    """Builds the source of plain.mp4 and others, and ends its processes."""
    held = []

    def source(made: Config, *names: str, machine: MachineSettings | None = None) -> EncodedSource:
        videos = {name: AnnotatedVideo(name, "train", SCENE, file=clips[name]) for name in (names or ("plain.mp4",))}
        live = made.live_encoder(CPU, machine or MachineSettings(), "float32", None)
        held.append(live)
        return made.build(Annotations(("run",), videos), "train", live)

    yield source
    for live in held:
        live.close()


def payload(sample: Sample) -> ClipWindow:
    assert isinstance(sample.payload, ClipWindow)
    return sample.payload


def rows(source: EncodedSource, sample: Sample) -> Tensor:
    return source.features(Batch((sample,)), sample.num_steps, CPU)[0].detach()


@pytest.mark.parametrize("align", ["valid", "backpad", "centred"])
def test_features_are_those_that_extraction_makes(build: Build, clips: Clips, align: str) -> None:
    made = config(align=align, preset="frozen")
    source = build(made)
    extracted, info = encode_video(clips["plain.mp4"], built(made.encoder), made.spacing, MachineSettings())
    sample = source.evaluation_sample(0)
    torch.testing.assert_close(rows(source, sample), torch.from_numpy(extracted).T, rtol=1e-4, atol=1e-4)
    assert source.videos[0].duration_s == info.duration_s
    assert (sample.grid.fps, sample.grid.stride_frames, sample.grid.offset_frames) == (15, 2, info.offset_frames)


def test_a_window_has_the_rows_of_the_whole_video_and_reads_its_own_clips_only(build: Build) -> None:
    source = build(config(preset="frozen"))
    whole = rows(source, source.evaluation_sample(0))
    before = source.live.reader.frames_decoded
    sample = source.training_sample(0, random.Random(5))
    assert len(payload(sample).clips) == 8
    assert payload(sample).held is not None
    read = source.live.reader.frames_decoded - before
    expected = whole[:, sample.first_step : sample.first_step + 8]
    torch.testing.assert_close(rows(source, sample), expected, rtol=1e-4, atol=1e-4)
    assert source.live.reader.frames_decoded == before + read  # held frames are not read again


LONG: dict[str, Any] = {"held_megabytes": 1, "encoder": {"short_side": 160, "crop": None}}
"""Windows of more bytes than are held."""


def test_a_long_window_is_read_chunk_by_chunk_and_gives_the_same_features(build: Build) -> None:
    held = build(config(preset="full", **{**LONG, "held_megabytes": 8}))
    streamed = build(config(preset="chunked", chunk=3, **LONG))
    first, second = (source.training_sample(0, random.Random(5)) for source in (held, streamed))
    assert payload(first).held is not None
    assert payload(second).held is None
    torch.testing.assert_close(rows(held, first), rows(streamed, second), rtol=1e-4, atol=1e-4)


def test_a_window_larger_than_the_limit_is_not_held(build: Build) -> None:
    sizes = []
    for short_side, preset in ((48, "etad"), (48, "chunked"), (160, "etad")):
        made = config(preset=preset, held_megabytes=1, encoder={"short_side": short_side, "crop": None})
        window = payload(build(made).training_sample(0, random.Random(0)))
        sizes.append(window.num_bytes)
        assert (window.held is not None) == (window.num_bytes <= 2**20)
        assert window.held is None or window.held.nbytes == window.num_bytes
    assert max(sizes[:2]) < 2**20 < sizes[2]


@pytest.mark.parametrize(
    ("settings", "learning"),
    [({"preset": "full"}, 8), ({"preset": "chunked"}, 8), ({"preset": "etad"}, 4), ({"preset": "frozen"}, 0),
     ({"fraction": 0.3}, 2), ({"preset": "etad", "fraction": 0.6, "round_to": 1}, 4)],
)  # fmt: skip
def test_as_many_clips_learn_as_the_settings_say(build: Build, settings: dict[str, Any], learning: int) -> None:
    source = build(config(**settings))
    samples = [source.training_sample(0, random.Random(seed)) for seed in range(3)]
    assert [len(payload(sample).learning) for sample in samples] == [learning] * 3
    assert all(payload(sample).learning <= set(payload(sample).clips) for sample in samples)
    assert payload(source.evaluation_sample(0)).learning == set()


def test_a_shared_draw_chooses_the_same_clips_for_all_videos_of_a_batch(build: Build, clips: Clips) -> None:
    names = ("plain.mp4", "sound.mp4")
    visit = Visit(seed=1, epoch=2, batch=3)
    for is_shared in (True, False):
        source = build(config(fraction=0.5, shared_draw=is_shared, max_steps=64), *names)
        choices = [
            payload(source.training_sample(number, visit.generator(number), visit)).learning for number in range(2)
        ]
        assert (choices[0] == choices[1]) == is_shared


def test_the_oldest_clips_come_first_whatever_was_loaded_before(build: Build) -> None:
    settings = {"fraction": 0.25, "choice": "oldest", "max_steps": 64}

    def drawn(source: EncodedSource, epoch: int) -> frozenset[int]:
        visit = Visit(seed=7, epoch=epoch)
        return payload(source.training_sample(0, visit.generator(0), visit)).learning

    source = build(config(**settings))
    in_order = [drawn(source, epoch) for epoch in range(4)]
    clips = sorted(clip for chosen in in_order for clip in chosen)
    assert clips == sorted(set(clips))  # none twice before each had its turn
    resumed = build(config(**settings))
    assert drawn(resumed, 3) == in_order[3]
    assert drawn(resumed, 1) == in_order[1]


def test_augmentation_is_drawn_once_for_a_window_and_follows_the_generator(build: Build) -> None:
    drawn = {"mirror": 0.5, "random_crop": True, "photometric": 0.5, "rotation": 0.5, "rotation_degrees": 20}
    source = build(config(preset="full", **drawn, encoder={"short_side": 48, "crop": 32}))
    samples = [source.training_sample(0, random.Random(seed)) for seed in range(8)]
    assert len({str(payload(sample).steps) for sample in samples}) > 2
    again = source.training_sample(0, random.Random(3))
    assert payload(again).steps == payload(samples[3]).steps
    torch.testing.assert_close(rows(source, again), rows(source, samples[3]))
    assert payload(source.evaluation_sample(0)).steps == source.config.encoder.frame_steps()


def test_colours_and_rotation_change_every_frame_of_a_window_alike(build: Build) -> None:
    plain, changed = build(config(preset="full")), build(config(preset="full", photometric=1, rotation=1, mirror=1))
    before, after = (payload(source.training_sample(0, random.Random(3))) for source in (plain, changed))
    steps = after.steps[len(before.steps) :]
    assert [type(step).__name__ for step in steps] == ["Photometric", "Rotation", "Mirror"]
    assert before.held is not None
    assert after.held is not None
    assert after.held.dtype == before.held.dtype
    frames, changed_frames = (held.reshape(-1, 32, 32, 3) for held in (before.held, after.held))
    for step in steps:
        frames = [step.apply(frame) for frame in frames]
    assert (np.stack(frames) == changed_frames).all()


ADATAD = {
    "training_short_side": 40,
    "random_resized_crop": [0.08, 1.0],
    "mirror": 0.5,
    "rand_augment": 2,
    "color_jitter": 0.5,
    "color_jitter_hue": 0.1,
}


def test_the_frames_of_training_are_the_same_whether_they_are_held_or_replayed(build: Build) -> None:
    held, streamed = build(config(preset="full", **ADATAD)), build(config(preset="chunked", chunk=3, **ADATAD))
    first, second = (payload(source.training_sample(0, random.Random(5))) for source in (held, streamed))
    assert first.steps == second.steps
    assert [type(step).__name__ for step in first.steps][:2] == ["Resize", "ResizedCrop"]
    assert {"RandAugment", "ColorJitter"} <= {type(step).__name__ for step in first.steps}
    assert first.held is not None
    second = dataclasses.replace(second, held=None)  # as it would be of a longer window
    assert first.held.shape == (8, 4, 32, 32, 3)
    for start in (0, 3, 6):
        clips = list(second.clips)[start : start + 3]
        for _ in range(2):  # the forward pass and the replay
            assert np.array_equal(second.frames(streamed.live.reader, clips), first.held[start : start + 3])
    plain = build(config(preset="full"))
    unchanged = payload(plain.training_sample(0, random.Random(5)))
    assert unchanged.held is not None
    assert not np.array_equal(unchanged.held, first.held)
    assert payload(held.evaluation_sample(0)).steps == payload(plain.evaluation_sample(0)).steps


def test_the_later_draws_of_a_window_do_not_depend_on_its_augmentation(build: Build) -> None:
    settings = {"fraction": 0.5, "crop_ratio": [0.5, 1.0]}
    samples = [
        build(config(**settings, **augmented)).training_sample(0, random.Random(7)) for augmented in ({}, ADATAD)
    ]
    assert samples[0].first_step == samples[1].first_step
    assert payload(samples[0]).learning == payload(samples[1]).learning


def test_resized_features_need_all_clips_and_windows_are_parts_of_them(build: Build) -> None:
    source = build(config(preset="etad", resize_to=20, max_steps=64))
    sample = source.training_sample(0, random.Random(0))
    assert sample.num_steps == 20
    assert len(payload(sample).clips) == 14
    extracted = build(config(preset="frozen"))
    whole = rows(extracted, extracted.evaluation_sample(0))
    expected = torch.nn.functional.interpolate(whole[None], size=20, mode="linear")[0]
    torch.testing.assert_close(rows(source, sample), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("outside", ["zero", "black"])
def test_frames_outside_the_video_are_what_the_settings_say(build: Build, outside: str) -> None:
    made = config(align="centred", preset="frozen", outside=outside)
    source = build(made)
    sample = source.evaluation_sample(0)
    window = payload(sample)
    frames = torch.from_numpy(window.frames(source.live.reader, window.clips)).float()
    is_outside = window.is_outside(window.clips)
    assert is_outside[0].tolist() == [True, True, False, False]
    frames[is_outside] = 127.0 if outside == "zero" else 0.0
    with torch.inference_mode():
        expected = source.live.encoder.encode(frames)[:, :, 0].T
    torch.testing.assert_close(rows(source, sample), expected, rtol=1e-4, atol=1e-4)


def test_detection_in_windows_covers_the_video(build: Build) -> None:
    source = build(config(preset="frozen", window_steps=6, window_overlap=0.5))
    parts = source.evaluation_samples(0)
    assert [part.first_step for part in parts] == [0, 3, 6, 8]
    whole = rows(source, source.evaluation_sample(0))
    for part in parts:
        expected = whole[:, part.first_step : part.first_step + 6]
        torch.testing.assert_close(rows(source, part), expected, rtol=1e-4, atol=1e-4)


def test_a_video_that_cannot_be_read_is_refused_or_left_out(build: Build, clips: Clips) -> None:
    with pytest.raises(UserError, match=r"Clips can be read of 1 of 2 videos .* missing: index_last_cut\.mp4"):
        build(config(preset="frozen"), "plain.mp4", "index_last_cut.mp4")
    source = build(config(preset="frozen", allow_missing=True), "plain.mp4", "index_last_cut.mp4")
    assert [video.id for video in source.missing] == ["index_last_cut.mp4"]


def test_a_video_that_breaks_later_is_named_once_and_replaced(
    build: Build, clips: Clips, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("plain.mp4", "sound.mp4")
    strict, tolerant = (build(config(preset="etad", allow_missing=allowed), *names) for allowed in (False, True))
    broken = VideoError("damaged", "frames missing: 3", "60 frames", "57 frames")
    for source in (strict, tolerant):
        read = source.live.reader.read

        def fails(path: Path, *arguments: Any, read: Any = read) -> Any:
            if path == clips["plain.mp4"]:
                raise broken
            return read(path, *arguments)

        monkeypatch.setattr(source.live.reader, "read", fails)
    number = [video.id for video in strict.videos].index("plain.mp4")
    with pytest.raises(UserError, match=r"plain\.mp4.*damaged"):
        strict.training_sample(number, random.Random(0))
    for seed in range(2):
        sample = tolerant.training_sample(number, random.Random(seed))
        assert (sample.video_id, sample.is_replacement) == ("sound.mp4", True)
        again = tolerant.training_sample(number, random.Random(seed))  # which is known to be broken by now
        assert payload(sample).first_row == payload(again).first_row
        assert payload(sample).learning == payload(again).learning
    assert not tolerant.training_sample(1 - number, random.Random(0)).is_replacement
    assert capsys.readouterr().err.count("plain.mp4 is left out") == 1


@pytest.mark.parametrize("allowed", [False, True])
def test_a_video_that_is_replayed_is_read_once_before_if_it_may_be_replaced(
    build: Build, clips: Clips, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    source = build(config(preset="chunked", allow_missing=allowed, **LONG), "plain.mp4", "sound.mp4")
    read, decoded = source.live.reader.read, []

    def fails(path: Path, *arguments: Any) -> Any:
        decoded.append(path)
        if path == clips["plain.mp4"]:
            raise VideoError("damaged", "frames missing: 3", "60 frames", "57 frames")
        return read(path, *arguments)

    monkeypatch.setattr(source.live.reader, "read", fails)
    sample = source.training_sample(0, random.Random(0))
    assert (sample.video_id, sample.is_replacement) == (("sound.mp4", True) if allowed else ("plain.mp4", False))
    number = len(decoded)
    source.training_sample(1, random.Random(1))
    assert len(decoded) == number == (5 if allowed else 0)
    if not allowed:
        with pytest.raises(UserError, match="read chunk by chunk in the middle of a step"):
            rows(source, sample)


def test_presets_expand_to_settings_that_can_be_overridden() -> None:
    etad = config(preset="etad")
    assert (etad.fraction, etad.round_to, etad.route, etad.chunk) == (0.3, 4, "replay", 4)
    assert etad.encoder.trainable.from_stage == 2  # type: ignore[union-attr]
    assert config(preset="etad", fraction=1.0).round_to == 1  # without effect there
    assert config(preset="etad", route="direct", encoder={"trainable": "all"}).route == "direct"
    frozen = config(preset="etad", encoder={"trainable": "none"})
    assert (frozen.fraction, frozen.route) == (1.0, "direct")
    assert Config.model_validate_json(etad.model_dump_json()) == etad


def test_a_preset_on_the_command_line_replaces_the_settings_that_a_run_has_written_out(tmp_path: Path) -> None:
    file = tmp_path / "complete.yaml"
    etad = experiment.load("configs/sample_efficientnet_end_to_end_actionformer.yaml")
    file.write_text(etad.to_yaml())
    assert experiment.load(str(file)).features == etad.features
    full = experiment.load(str(file), ["features.preset=full"]).features
    assert full == experiment.load(str(etad.file), ["features.preset=full"]).features
    half = experiment.load(str(file), ["features.preset=etad", "features.fraction=0.5"]).features
    assert (half.fraction, half.round_to) == (0.5, 4)  # type: ignore[attr-defined]
    block = "features.encoder={name: efficientnet_lite0, trainable: all}"
    for typed in ([block, "features.preset=etad"], ["features.preset=etad", block]):
        assert experiment.load(str(file), typed).features.encoder.trainable == "all"  # type: ignore[attr-defined]


YAML = """\
dataset: {name: custom, folder: prepared, videos: videos, annotations: labels.csv}
features:
  name: encoded
  encoder: {name: efficientnet_lite0}
  fps: 8
  clip_frames: 2
  stride_frames: 2
"""


CROPPED = ["features.encoder.short_side=40", "features.encoder.crop=32"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["features.round_to=4"],
         r"features\.round_to: found 4, which has no effect because features\.fraction is 1\.0"),
        (["features.fraction=0.5", "features.encoder.trainable=none"],
         r"features\.fraction: found 0\.5, which has no effect because features\.encoder\.trainable is none"),
        (["features.route=replay", "features.preset=frozen"],
         r"features\.route: found replay, which has no effect because features\.encoder\.trainable is none"),
        (["features.rotation_degrees=20"],
         r"features\.rotation_degrees: found 20, which has no effect because rotation is 0"),
        (["features.rand_augment_magnitude=5"],
         r"features\.rand_augment_magnitude: found 5, which has no effect because rand_augment is 0"),
        (["features.rand_augment=2", "features.rand_augment_magnitude=11"], r"rand_augment_magnitude: found 11.*10"),
        (["features.color_jitter=1.5"], r"features\.color_jitter: found 1\.5"),
        (["features.color_jitter_hue=0.6"], r"features\.color_jitter_hue: found 0\.6"),
        ([*CROPPED, "features.random_resized_crop=[0.5, 0.2]"],
         r"features\.random_resized_crop: found \[0\.5, 0\.2\], expected two fractions above 0, the smaller first"),
        ([*CROPPED, "features.random_resized_crop=[0, 1]"],
         r"features\.random_resized_crop: found \[0\.0, 1\.0\], expected two fractions above 0"),
        ([*CROPPED, "features.random_resized_crop=[0.1, 1]", "features.random_crop=true"],
         r"features\.random_crop: found true, which has no effect because random_resized_crop is set"),
        (["features.encoder.crop=null", "features.random_resized_crop=[0.1, 1]"],
         r"features\.random_resized_crop: found \[0\.1, 1\.0\], expected null, because the encoder "
         r"efficientnet_lite0 does not crop its frames with these settings"),
        (["features.encoder={name: i3d, stream: both, frames: deepmind}", "features.random_resized_crop=[0.1, 1]"],
         r"expected null, because the encoder i3d computes optical flow, which depends on the size of the frames"),
        (["features.encoder={name: r2plus1d}", "features.training_short_side=182"],
         r"features\.training_short_side: found 182, expected null, because the encoder r2plus1d does not resize the "
         r"short side of its frames before it crops them with these settings"),
        ([*CROPPED, "features.training_short_side=40"],
         r"features\.training_short_side: found 40, which has no effect because it is the short side that the encoder "
         r"efficientnet_lite0 resizes to"),
        ([*CROPPED, "features.training_short_side=31"],
         r"features\.training_short_side: found 31, expected at least 32, the side of the crop of the encoder"),
        (["features.encoder.precision=bfloat16"], "training.precision governs"),
        (["features.preset=bank_replay"], r"features\.bank: is missing; expected the folder of stored features"),
        (["features.others=bank", "features.bank=x"],
         r"features\.others: found bank, which has no effect because features\.fraction is 1\.0"),
        (["features.preset=bank_replay", "features.bank=x", "features.clip_origin=window", "features.resize_to=9"],
         r"features\.resize_to: found 9, which has no effect because windows have their own clips"),
        (["features.downsample=2"], r"features\.downsample.*stride_frames"),
        (["features.preset=etda"], r"features\.preset: found \"etda\".*Did you mean etad"),
        (["features.name=stored", "features.path=x", "features.encoder.rate_factor=0.1"],
         r"features\.encoder\.rate_factor: found 0\.1, which has no effect with features\.name=stored"),
    ],
)  # fmt: skip
def test_a_setting_without_effect_is_an_error_that_names_both(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    (tmp_path / "mine.yaml").write_text(YAML)
    with pytest.raises(UserError, match=message):
        experiment.load(str(tmp_path / "mine.yaml"), overrides)
