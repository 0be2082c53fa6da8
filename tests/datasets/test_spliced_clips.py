"""Splices of clips whose brightness grows with time, so that a piece's direction and speed can be read off it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from actloc import experiment
from actloc.annotations.model import Annotations
from actloc.datasets.spliced_clips import Config
from actloc.errors import UserError
from actloc.video import ffmpeg
from actloc.video.reader import read_frames
from tests.videos import ffmpeg as run_ffmpeg

pytestmark = pytest.mark.usefixtures("forked_decoders")
CLIP_S, BRIGHTEST = 8.0, 200
SPEEDS = {"run": 1, "run_backward": -1, "run_fast": 2, "run_fast_backward": -2, "run_mirrored": 1}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dark background, and an action that goes from black to white, a little later on the right."""
    folder = tmp_path_factory.mktemp("clips")
    lighter = "20*lt(X,32)"  # the left half
    growing = f"color=black:s=64x48:r=30:d={CLIP_S},format=gray,geq=lum='{BRIGHTEST}*T/{CLIP_S}+{lighter}'"
    for name, source in (("background", f"color=black:s=64x48:r=30:d={CLIP_S}"), ("run", growing)):
        run_ffmpeg("-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", folder / f"{name}.mp4")
    return folder


def config(clips: Path, folder: Path, **settings: object) -> Config:
    usual = {
        "variants": ("forward", "backward", "fast", "fast_backward", "mirrored"),
        "shortest_s": 10.0,
        "longest_s": 20.0,
    }
    few = {"num_training_videos": 3, "num_evaluation_videos": 1, "shortest_action_s": 0.6, "longest_action_s": 1.4}
    small = {"fps": 10.0, "width": 32, "height": 24, "seed": 3}  # with this seed, few videos show every variant
    return Config.model_validate({"folder": folder, "clips": clips, **usual, **few, **small, **settings})


def brightness(annotations: Annotations, part: slice) -> list[tuple[str, NDArray[np.float64]]]:
    """Of each action of all videos, the mean brightness of every frame's columns in `part`."""
    found = []
    for video in annotations.videos.values():
        assert video.file is not None
        frames = np.array([frame[:, part].mean() for frame in read_frames(video.file, fps=10.0)])
        for action in video.actions:
            found.append((action.label, frames[round(action.start_s * 10) : round(action.end_s * 10)]))
    return found


def test_a_variants_actions_are_played_at_its_speed_and_in_its_direction(clips: Path, tmp_path: Path) -> None:
    annotations = config(clips, tmp_path).collect()
    assert annotations.classes == tuple(sorted(SPEEDS))
    found = brightness(annotations, slice(None))
    assert {label for label, _ in found} == set(SPEEDS)
    for label, values in found:
        slope = np.polyfit(np.arange(len(values)), values, 1)[0] * 10 * CLIP_S / BRIGHTEST  # clip time in a second
        speed = slope / SPEEDS[label]
        assert 0.8 - 0.1 < speed < 1.25 + 0.1, label


def test_only_mirrored_actions_show_the_clips_bright_side_on_the_right(clips: Path, tmp_path: Path) -> None:
    annotations = config(clips, tmp_path).collect()
    left, right = brightness(annotations, slice(0, 8)), brightness(annotations, slice(24, 32))
    for (label, on_the_left), (_, on_the_right) in zip(left, right, strict=True):
        assert (on_the_right.mean() > on_the_left.mean()) == (label == "run_mirrored"), label


def test_a_missing_video_alone_is_made_again_and_is_the_same(clips: Path, tmp_path: Path) -> None:
    first = config(clips, tmp_path).collect()
    files = sorted((tmp_path / "videos").iterdir())
    content = files[1].read_bytes()
    times = [file.stat().st_mtime_ns for file in files]
    files[1].unlink()
    assert config(clips, tmp_path).collect() == first
    assert files[1].read_bytes() == content
    assert [a == file.stat().st_mtime_ns for a, file in zip(times, files, strict=True)] == [True, False, True, True]


@pytest.fixture
def spliced(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[ffmpeg.Piece]]:
    """The pieces of each file that would have been made."""
    seen: dict[str, list[ffmpeg.Piece]] = {}

    def splice(pieces: list[ffmpeg.Piece], target: Path, **_: object) -> None:
        seen[target.name] = pieces

    monkeypatch.setattr(ffmpeg, "splice", splice)
    return seen


def test_the_sample_has_the_videos_that_it_had_before_there_were_variants(
    spliced: dict[str, list[ffmpeg.Piece]], tmp_path: Path
) -> None:
    """Their names include a hash of their pieces; these are of commit 11eeb14."""
    loaded = experiment.load("configs/sample_efficientnet_actionformer.yaml", [f"dataset.folder={tmp_path}"])
    loaded.dataset.collect()
    assert {"test_000-f730298d.mp4", "test_007-2598d4e2.mp4", "train_000-b0865269.mp4"} < set(spliced)
    assert all(piece.speed > 0 for pieces in spliced.values() for piece in pieces)


@pytest.mark.usefixtures("spliced")
def test_more_variants_make_more_classes_of_the_same_clips(tmp_path: Path) -> None:
    some = ["dataset.variants=[backward, mirrored]", f"dataset.folder={tmp_path}"]
    classes = experiment.load("configs/harder_efficientnet_actionformer.yaml", some).dataset.collect().classes
    assert len(classes) == 10
    assert {"juggling_ball_backward", "juggling_ball_mirrored"} < set(classes)
    assert not any(name.startswith("background") for name in classes)


@pytest.mark.parametrize(
    ("variants", "found"), [(("backwards",), "backward"), ((), "at least 1"), (("fast", "fast"), "at most once")]
)
def test_variants_are_known_and_named_once(clips: Path, tmp_path: Path, variants: tuple[str, ...], found: str) -> None:
    with pytest.raises(ValidationError, match=found):
        config(clips, tmp_path, variants=variants)


def test_a_clip_that_is_named_as_anothers_variant_is_refused(clips: Path, tmp_path: Path) -> None:
    for name in ("background", "run"):
        (tmp_path / f"{name}.mp4").symlink_to(clips / f"{name}.mp4")
    (tmp_path / "run_fast.mp4").symlink_to(clips / "run.mp4")
    with pytest.raises(UserError, match="run_fast would name two actions"):
        config(tmp_path, tmp_path / "prepared", variants=("forward", "fast")).collect()
    assert config(tmp_path, tmp_path / "prepared", variants=("forward",)).collect().classes == ("run", "run_fast")


def test_a_part_that_is_too_short_for_double_speed_is_refused(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has 4\.40 s for this subset"):
        config(clips, tmp_path, variants=("fast",), shortest_action_s=2.5, longest_action_s=4.0).collect()
