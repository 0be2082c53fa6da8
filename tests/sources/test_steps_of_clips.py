"""Steps between an encoder's vectors: windows of a training recipe like AdaTAD's, whose clips begin with a step.

The grey of frame n is n, so a vector says which frames it was made of. Clips of 8 frames show every second one, so the
encoder sees 4 and makes 2 vectors; they become 4 steps, one for each of these frames.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from actloc import experiment
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.commands import extract_features
from actloc.encoders.base import EncoderConfig
from actloc.encoders.base_network import ClipEncoder
from actloc.end_to_end.clip_window import ClipWindow
from actloc.errors import UserError
from actloc.settings.sections import MachineSettings
from actloc.sources import stored
from actloc.sources.encoded import Config
from actloc.sources.encoded.source import EncodedSource
from actloc.structures import Batch, Sample, Visit
from actloc.video.frame_transforms import FrameStep

CPU = torch.device("cpu")
NUM_FRAMES = 101
ACTION = Action(2.0, 3.0, "run")  # frames 20 to 30


class GreysConfig(EncoderConfig):
    def frame_steps(self) -> tuple[FrameStep, ...]:
        return ()

    def build(self) -> "Greys":
        return Greys(self)


class Greys(ClipEncoder):
    """A vector for every two frames: their mean grey."""

    channels = 1
    clip_multiple = 2

    def encode(self, clips: Tensor) -> Tensor:
        return clips.float().mean((2, 3, 4)).unflatten(1, (-1, 2)).mean(2)[:, None]

    def vectors_per_clip(self, num_frames: int) -> int:
        return num_frames // 2


SETTINGS: dict[str, Any] = {
    "encoder": GreysConfig(name="greys"),
    "fps": 10.0,
    "clip_frames": 8,
    "frame_interval": 2,
    "stride_frames": 8,
    "align": "padded",
    "steps_per_clip": 4,
    "step_time": "start",
    "clip_origin": "step",
    "encode_padding": True,
    "outside": "repeat_window",
    "max_steps": 16,
    "window_steps": 16,
    "crop_ratio": None,
    "min_kept": 0.75,
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders of frames, by the number of frames in them."""
    folders = {}
    for count in (NUM_FRAMES, 31):
        folders[count] = folder = tmp_path_factory.mktemp(f"frames_{count}")
        for number in range(count):
            Image.new("RGB", (8, 8), (number, number, number)).save(folder / f"{number + 1:06d}.png")
        (folder / "frames.json").write_text(f'{{"fps": 10, "count": {count}}}')
    return folders


@pytest.fixture
def build(videos: dict[int, Path]) -> Iterator[Any]:
    held = []

    def source(count: int = NUM_FRAMES, **settings: Any) -> EncodedSource:
        made = Config.model_validate({**SETTINGS, **settings})
        live = made.live_encoder(CPU, MachineSettings(num_workers=1), "float32", None)
        held.append(live)
        listed = {"v": AnnotatedVideo("v", "train", (ACTION,), file=videos[count])}
        return made.build(Annotations(("run",), listed), "train", live)

    yield source
    for live in held:
        live.close()


def window(sample: Sample) -> ClipWindow:
    assert isinstance(sample.payload, ClipWindow)
    return sample.payload


def greys(source: EncodedSource, sample: Sample, num_steps: int) -> NDArray[Any]:
    return source.features(Batch((sample,)), num_steps, CPU)[0, 0].numpy()


def interpolated(seen: NDArray[Any], num_steps: int) -> NDArray[Any]:
    """Vectors of pairs of the frames that are seen, linearly between their centres and constant at the ends."""
    vectors = seen.reshape(-1, 2).mean(1)
    places = (np.arange(num_steps) + 0.5) * len(vectors) / num_steps - 0.5
    return np.interp(places, np.arange(len(vectors)), vectors)


def test_a_training_window_begins_with_a_step_and_its_vectors_are_interpolated_together(build: Any) -> None:
    source = build()
    starts = set()
    for epoch in range(20):
        visit = Visit(epoch=epoch)
        sample = source.training_sample(0, visit.generator(0), visit)
        first = window(sample).layout.first_frames[0]
        starts.add(first)
        assert (first, sample.num_steps, len(window(sample).clips)) == (2 * sample.first_step, 16, 4)
        seen = first + 2 * np.arange(16)
        np.testing.assert_allclose(greys(source, sample, 16), interpolated(seen, 16), rtol=1e-6)
        ((start, end),) = (sample.targets.segments * 2 + first).tolist()
        assert (start, end) == pytest.approx((max(20, first), min(30, first + 32)))
        assert end - start >= 7.5
    assert all(start % 2 == 0 for start in starts)
    assert any(start % 8 for start in starts)


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 3])
def test_any_number_of_steps_is_made_of_a_clip(build: Any, steps: int) -> None:
    """With 1 a step is for four frames that are seen, with 8 for half of one."""
    source = build(steps_per_clip=steps, max_steps=4 * steps, window_steps=4 * steps)
    sample = source.training_sample(0, random.Random(1))
    first = window(sample).layout.first_frames[0]
    assert sample.grid.stride_frames == 8 / steps
    assert first == sample.first_step * 8 // steps
    expected = interpolated(first + 2 * np.arange(16), 4 * steps)
    np.testing.assert_allclose(greys(source, sample, 4 * steps), expected, rtol=1e-6)


def test_without_the_setting_a_step_is_a_vector(build: Any) -> None:
    source = build(steps_per_clip=None, max_steps=8, window_steps=8)
    sample = source.training_sample(0, random.Random(1))
    first = window(sample).layout.first_frames[0]
    assert (sample.grid.stride_frames, first) == (4, 4 * sample.first_step)
    np.testing.assert_allclose(greys(source, sample, 8), first + 4 * np.arange(8) + 1)


def test_after_its_last_step_a_window_repeats_its_last_frame(build: Any) -> None:
    """Also where the video goes on: a short video is cropped, and what was cropped is not seen."""
    source = build(31, crop_ratio=(0.5, 0.8))
    lengths = set()
    for seed in range(12):
        sample = source.training_sample(0, random.Random(seed))
        lengths.add(sample.num_steps)
        first = 2 * sample.first_step
        last = first + 2 * (sample.num_steps - 1)
        seen = np.minimum(first + 2 * np.arange(16), last)
        np.testing.assert_allclose(greys(source, sample, 16), interpolated(seen, 16), rtol=1e-6)
        assert window(sample).held is not None
    assert min(lengths) >= 8
    assert max(lengths) <= 13
    goes_on = build(31, crop_ratio=(0.5, 0.8), outside="repeat")
    sample = goes_on.training_sample(0, random.Random(0))
    seen = np.minimum(2 * sample.first_step + 2 * np.arange(16), 30)
    np.testing.assert_allclose(greys(goes_on, sample, 16), interpolated(seen, 16), rtol=1e-6)


def test_detection_windows_overlap_and_the_last_one_ends_with_the_video(build: Any) -> None:
    source = build()
    samples = source.evaluation_samples(0)
    assert [(sample.first_step, sample.num_steps) for sample in samples] == [
        (0, 16), (8, 16), (16, 16), (24, 16), (32, 16), (35, 16),
    ]  # fmt: skip
    for sample in samples:
        seen = 2 * sample.first_step + 2 * np.arange(16)
        np.testing.assert_allclose(greys(source, sample, 16), interpolated(seen, 16), rtol=1e-6)
        assert (sample.grid.stride_frames, sample.grid.offset_frames) == (2, 0)
    (short,) = build(31).evaluation_samples(0)
    assert short.num_steps == 16  # frames 0, 2 to 30
    np.testing.assert_allclose(greys(build(31), short, 16), interpolated(2 * np.arange(16), 16), rtol=1e-6)


def test_where_a_longer_video_gives_all_clips_a_window_takes_its_rows_of_them(build: Any) -> None:
    source = build(clip_origin="video", outside="repeat", encode_padding=False, window_steps=None)
    sample = source.training_sample(0, random.Random(2))
    clips = window(sample).clips
    seen = 8 * clips[0] + 2 * np.arange(4 * len(clips))
    expected = interpolated(seen, 4 * len(clips))[sample.first_step - 4 * clips[0] :][:16]
    np.testing.assert_allclose(greys(source, sample, 16), expected, rtol=1e-6)


@pytest.mark.parametrize(("steps", "per_clip", "count"), [(8, 2, NUM_FRAMES), (12, 3, 31), (4, 1, NUM_FRAMES)])
def test_spread_frames_are_the_centres_of_equal_parts_of_the_video(
    build: Any, steps: int, per_clip: int, count: int
) -> None:
    settings = {
        "clip_origin": "video",
        "outside": "repeat",
        "encode_padding": False,
        "align": "valid",
        "crop_ratio": None,
    }
    settings |= {"resize_to": steps, "resize_by": "frames", "steps_per_clip": per_clip, "step_time": "centre"}
    source = build(count, **settings, max_steps=steps, window_steps=None)
    seen = np.round((np.arange(16) + 0.5) * count / 16 - 0.5)
    for sample in (source.evaluation_sample(0), source.training_sample(0, random.Random(0)), source.longest_sample(0)):
        assert (sample.num_steps, len(window(sample).clips)) == (steps, 4)
        np.testing.assert_allclose(greys(source, sample, steps), interpolated(seen, steps), rtol=1e-6)
        torch.testing.assert_close(
            sample.grid.steps(torch.tensor([0.0, count / 10])), torch.tensor([-0.5, steps - 0.5])
        )


def test_resized_steps_cover_all_vectors_of_a_clip(build: Any) -> None:
    settings = {"clip_origin": "video", "outside": "repeat", "encode_padding": False, "steps_per_clip": None}
    sample = build(**settings, resize_to=10, align="valid").evaluation_sample(0)
    assert sample.grid.stride_frames == 96 / 10  # 12 whole clips of 8 frames


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_origin": "video", "encode_padding": False, "outside": "repeat", "resize_to": 8},
         "steps_per_clip: found 4, which has no effect because every video has the 8 steps of features.resize_to"),
        ({"clip_origin": "video", "encode_padding": False, "resize_to": 8, "steps_per_clip": None},
         "outside: found repeat_window, expected repeat, zero or black"),
        ({"others": "bank", "bank": "x", "fraction": 0.5}, "steps_per_clip: found 4, expected null, because the rows"),
        ({"clip_origin": "video", "encode_padding": False, "outside": "repeat", "resize_to": 9, "resize_by": "frames",
          "align": "valid"}, "steps_per_clip: found 4, expected a number that divides the 9 steps"),
        ({"clip_origin": "video", "encode_padding": False, "outside": "repeat", "resize_to": 8, "resize_by": "frames",
          "align": "valid", "steps_per_clip": None}, "steps_per_clip: found null, expected a number that divides"),
        ({"preset": "adatad", "encoder": {"name": "efficientnet_lite0"}},
         "trainable: found adapters, as features.preset=adatad sets it, but the encoder efficientnet_lite0 has none"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_together_are_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate(Config.expanded({**SETTINGS, **settings}))


ADAPTED = {"name": "videomae", "size": {"dim": 16, "blocks": 4, "heads": 2}, "adapters": {}}


def test_the_preset_trains_the_adapters_with_checkpoints_in_one_pass() -> None:
    made = Config.model_validate(Config.expanded({**SETTINGS, "preset": "adatad", "encoder": ADAPTED}))
    assert (made.encoder.trainable, made.checkpoint_blocks) == ("adapters", True)
    assert (made.fraction, made.route, made.others) == (1.0, "direct", "no_gradient")
    frozen = {**ADAPTED, "trainable": "none"}
    assert not Config.model_validate(
        Config.expanded({**SETTINGS, "preset": "adatad", "encoder": frozen})
    ).checkpoint_blocks


YAML = """\
dataset: {name: custom, folder: prepared, videos: videos, annotations: labels.csv}
features: {name: encoded, preset: adatad, fps: 8, clip_frames: 16, stride_frames: 16, encoder: %s}
"""


def test_features_of_clips_that_are_mixed_are_not_stored(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(YAML % str(ADAPTED).replace("'", ""))
    loaded = experiment.load(str(tmp_path / "mine.yaml"))
    for dry_run in (False, True):
        with pytest.raises(UserError, match=r"encoder videomae of .* mixes the clips of a window(.|\n)*actloc eval"):
            extract_features.run(loaded, dry_run=dry_run)
    grid = {"path": "x", "fps": 8.0, "clip_frames": 16, "stride_frames": 16}
    stored.Config.model_validate({**grid, "encoder": {**ADAPTED, "adapters": None}})
    with pytest.raises(ValidationError, match="encoder: found videomae, which mixes the clips of a window"):
        stored.Config.model_validate({**grid, "encoder": {**ADAPTED, "trainable": "all"}})
