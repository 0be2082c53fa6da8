"""Features from a store in training and evaluation, compared with the recorded official data pipeline."""

import json
import random
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.errors import UserError
from actloc.sources.stored import Config
from actloc.sources.stored.source import StoredSource
from actloc.store.info import FeatureInfo
from actloc.store.store import FeatureStore
from actloc.structures import Sample

GOLDEN = Path("tests/golden")
RECORDED: dict[str, Any] = json.loads((GOLDEN / "data_pipeline.json").read_text())
SAMPLES = [(name, sample) for name, case in RECORDED.items() for sample in case["samples"]]


def info(video_id: str, steps: int, *, fps: float, stride: int, clip: int) -> FeatureInfo:
    return FeatureInfo(
        video_id=video_id,
        encoder="recorded",
        weights_sha256=None,
        recipe="{}",
        fps=fps,
        clip_frames=clip,
        stride_frames=stride,
        align="valid",
        offset_frames=clip / 2,
        frame_count=(steps - 1) * stride + clip,
        duration_s=((steps - 1) * stride + clip) / fps,
        reader="recorded",
        source_bytes=0,
        source_sha256="",
        code_version="0",
    )


def source_of(name: str, folder: Path) -> StoredSource:
    """The recorded case's videos, features and settings as ours."""
    case, arrays = RECORDED[name], np.load(GOLDEN / "data_pipeline.npz")
    settings = case["dataset_args"]
    is_activitynet = case["loader"] == "anet"
    fps = float(settings["default_fps"] or 30.0)
    store = FeatureStore(folder / "store")
    videos = {}
    for video_id, entry in case["database"].items():
        if f"{name}_{video_id}_raw0" not in arrays:
            continue
        raw = arrays[f"{name}_{video_id}_raw0"]
        store.write(
            video_id,
            raw,
            info(video_id, len(raw), fps=fps, stride=settings["feat_stride"], clip=settings["num_frames"]),
        )
        one_class = settings["num_classes"] == 1
        actions = tuple(Action(*item["segment"], "l0" if one_class else item["label"]) for item in entry["annotations"])
        videos[video_id] = AnnotatedVideo(video_id, entry["subset"], actions)
    config = Config(
        path=folder / "store",
        fps=fps,
        clip_frames=settings["num_frames"],
        stride_frames=settings["feat_stride"],
        max_steps=settings["max_seq_len"],
        crop_ratio=tuple(settings["crop_ratio"]),
        min_kept=settings["trunc_thresh"],
        resize_to=settings["max_seq_len"] if settings["force_upsampling"] else None,
        past_end="clip" if is_activitynet else "keep",
        drop_duplicates=is_activitynet,
        downsample=settings["downsample_rate"],
    )
    annotations = Annotations(tuple(sorted(case["label_dict"])), videos, keeps_past_end=True)
    return StoredSource(config, annotations, case["split"][0])


@pytest.mark.parametrize(("name", "recorded"), SAMPLES, ids=[sample["key"] for _, sample in SAMPLES])
def test_a_sample_equals_the_recorded_official_one(name: str, recorded: dict[str, Any], tmp_path: Path) -> None:
    source = source_of(name, tmp_path)
    index = [video.id for video in source.videos].index(recorded["video"])
    sample: Sample
    if recorded["training"]:
        sample = source.training_sample(index, random.Random(recorded["seed"]))
    else:
        sample = source.evaluation_sample(index)
    arrays, key = np.load(GOLDEN / "data_pipeline.npz"), recorded["key"]
    np.testing.assert_allclose(sample.features.numpy(), arrays[f"{key}_feats"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(sample.targets.segments.numpy(), arrays[f"{key}_segments"], atol=1e-4, rtol=0)
    np.testing.assert_array_equal(sample.targets.labels.numpy(), arrays[f"{key}_labels"])
    assert sample.grid.stride_frames == pytest.approx(recorded["feat_stride"])
    assert sample.grid.offset_frames == pytest.approx(recorded["feat_num_frames"] / 2)
    assert sample.grid.fps == recorded["fps"]


def small_source(folder: Path, *, steps: int = 20, duration_s: float | None = None, **settings: Any) -> StoredSource:
    store = FeatureStore(folder / "store")
    store.write("v", np.zeros((steps, 3), np.float32), info("v", steps, fps=30.0, stride=4, clip=16))
    video = AnnotatedVideo("v", "train", (Action(0.5, 1.0, "run"),), duration_s)
    gone = AnnotatedVideo("gone", "train", (Action(0.5, 1.0, "run"),), 3.0)
    config = Config(**{"path": folder / "store", "fps": 30.0, "clip_frames": 16, "stride_frames": 4, **settings})
    return StoredSource(config, Annotations(("run",), {"v": video, "gone": gone}), "train")


def test_missing_features_are_listed_unless_the_settings_allow_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing: gone"):
        small_source(tmp_path)
    source = small_source(tmp_path, allow_missing=True)
    assert [video.id for video in source.missing] == ["gone"]


def test_the_reasons_of_videos_that_failed_are_named(tmp_path: Path) -> None:
    small_source(tmp_path, allow_missing=True)
    row = {"id": "gone", "path": "gone.mp4", "reason": "truncated", "detail": "frames missing: 9"}
    FeatureStore(tmp_path / "store").write_failed([{**row, "expected": "", "found": ""}])
    with pytest.raises(UserError) as caught:
        small_source(tmp_path)
    assert "missing: gone (truncated: frames missing: 9)." in caught.value.found
    assert "Replace these files. Run: actloc extract-features CONFIG [SETTINGS]" in caught.value.fix


def test_features_of_different_channels_are_refused(tmp_path: Path) -> None:
    small_source(tmp_path, allow_missing=True)
    ours = FeatureStore(tmp_path / "store").info("v")
    other = np.zeros((ours.steps, ours.channels + 1), np.float32)
    FeatureStore(tmp_path / "store").write("gone", other, replace(ours, video_id="gone"))
    config = Config(path=tmp_path / "store", fps=30.0, clip_frames=16, stride_frames=4)
    videos = {name: AnnotatedVideo(name, "train") for name in ("v", "gone")}
    with pytest.raises(UserError, match=r"of gone in .* have 4 channels, those of v 3"):
        StoredSource(config, Annotations(("run",), videos), "train")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fps": 25.0}, "fps is 30.0, the settings say 25.0"),
        ({"clip_frames": 32}, "clip_frames is 16, the settings say 32"),
        ({"stride_frames": 8}, "stride_frames is 4, the settings say 8"),
        ({"align": "centred"}, "align is valid, the settings say centred"),
    ],
)
def test_a_grid_that_does_not_fit_the_settings_is_refused_with_the_number_that_differs(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        small_source(tmp_path, allow_missing=True, **settings)


def test_steps_that_do_not_fit_the_duration_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="v has 20 steps; 10 s at 30 frames per second"):
        small_source(tmp_path, allow_missing=True, duration_s=10.0)


def test_at_native_rates_each_video_is_checked_with_its_own_rate(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store")
    videos = {}
    for name, fps in (("a", 25.0), ("b", 30.0)):
        videos[name] = AnnotatedVideo(name, "train", (Action(0.5, 1.0, "run"),), 10.0)
        steps = (round(10 * fps) - 16) // 4 + 1
        store.write(name, np.zeros((steps, 3), np.float32), info(name, steps, fps=fps, stride=4, clip=16))
    config = Config(path=store.folder, fps="native", clip_frames=16, stride_frames=4)
    source = StoredSource(config, Annotations(("run",), videos), "train")
    assert [source.evaluation_sample(index).grid.fps for index in range(2)] == [25.0, 30.0]
    store.write("b", np.zeros((30, 3), np.float32), info("b", 30, fps=30.0, stride=4, clip=16))
    with pytest.raises(UserError, match="b has 30 steps; 10 s at 30 frames per second"):
        StoredSource(config, Annotations(("run",), videos), "train")
    with pytest.raises(UserError, match=r"fps is 25.0, the settings say 30.0"):
        StoredSource(config.model_copy(update={"fps": 30.0}), Annotations(("run",), videos), "train")


def test_a_few_misfits_are_allowed_and_listed_but_most_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FeatureStore(tmp_path / "store")
    videos = {name: AnnotatedVideo(name, "train", (Action(0.5, 1.0, "run"),), 10.0) for name in "abc"}
    for name, steps in (("a", 72), ("b", 72), ("c", 30)):
        store.write(name, np.zeros((steps, 3), np.float32), info(name, steps, fps=30.0, stride=4, clip=16))
    config = Config(path=store.folder, fps=30.0, clip_frames=16, stride_frames=4, allow_misfits=True)
    StoredSource(config, Annotations(("run",), videos), "train")
    assert "c has 30 steps" in capsys.readouterr().err
    store.write("b", np.zeros((30, 3), np.float32), info("b", 30, fps=30.0, stride=4, clip=16))
    with pytest.raises(UserError, match="2 of 3 videos"):
        StoredSource(config, Annotations(("run",), videos), "train")


def test_another_encoders_features_are_refused(tmp_path: Path) -> None:
    from actloc.encoders.color import Config as Color

    source = small_source(tmp_path, allow_missing=True)
    config = source.config.model_copy(update={"encoder": Color.small()})
    with pytest.raises(UserError, match="encoder is recorded, the settings say color"):
        StoredSource(config, Annotations(("run",), {"v": source.videos[0]}), "train")


MADE = {"encoder": {"name": "color", "short_side": 48, "crop": None}, "features": {"fps": 30.0}}
"""A recipe older than the settings precision, channels_last, decode_fps and frame_interval."""


@pytest.mark.parametrize(
    ("later", "encoder", "settings", "message"),
    [
        ({}, {}, {}, None),
        ({}, {"precision": "bfloat16"}, {}, "encoder.precision is float32, the settings say bfloat16"),
        ({}, {}, {"frame_interval": 2}, "frame_interval is 1, the settings say 2"),
        ({"frame_interval": 2}, {}, {"frame_interval": 2}, None),
        ({"decode_fps": 30.0}, {}, {}, "decode_fps is 30.0, the settings say None"),
    ],
)
def test_settings_that_only_the_recipe_records_are_compared(
    tmp_path: Path, later: dict[str, Any], encoder: dict[str, Any], settings: dict[str, Any], message: str | None
) -> None:
    from actloc.encoders.color import Config as Color

    recipe = json.dumps({**MADE, "features": {**MADE["features"], **later}})
    made = replace(info("v", 20, fps=30.0, stride=4, clip=16), encoder="color", recipe=recipe)
    FeatureStore(tmp_path).write("v", np.zeros((20, 6), np.float32), made)
    color = Color(short_side=48, **encoder)
    config = Config(path=tmp_path, encoder=color, fps=30.0, clip_frames=16, stride_frames=4, **settings)
    annotations = Annotations(("run",), {"v": AnnotatedVideo("v", "train")})
    refused = pytest.raises(UserError, match=message) if message else nullcontext()
    with refused:
        StoredSource(config, annotations, "train")


def test_resized_rows_of_clips_that_give_several_span_what_the_clips_do(tmp_path: Path) -> None:
    """Three clips of 8 frames back to back, of 4 rows each: 24 frames, and the steps are equal parts of them."""
    store = FeatureStore(tmp_path / "store")
    facts = replace(info("a", 3, fps=8.0, stride=8, clip=8), vectors_per_clip=4)
    store.write("a", np.zeros((12, 5), np.float32), facts)
    video = AnnotatedVideo("a", "train", (Action(0.75, 1.5, "run"),), duration_s=3.0)
    settings = {"path": store.folder, "fps": 8.0, "clip_frames": 8, "stride_frames": 8, "resize_to": 6}
    sample = Config.model_validate(settings).build(Annotations(("run",), {"a": video}), "train").evaluation_sample(0)
    assert sample.features.shape == (5, 6)
    # step i is from second i / 2 to (i + 1) / 2, with its centre at i
    assert sample.targets.segments.tolist() == [[1.0, 2.5]]
