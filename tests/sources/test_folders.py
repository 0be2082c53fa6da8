"""Features in other projects' files, compared with the recorded official data pipeline and time grid."""

import json
import pickle
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from actloc.annotations.model import Action, AnnotatedVideo, Annotations, FeatureRows
from actloc.errors import UserError
from actloc.ops.roi_align import resize_by_roi_align
from actloc.sources.folders import Config
from actloc.sources.folders.source import FolderSource, expected_rows
from tests.sources.in_folders import annotations_of, array, settings, source, video
from tests.sources.test_stored import GOLDEN, RECORDED, SAMPLES

GRIDS: list[dict[str, Any]] = json.loads((GOLDEN / "time_grid.json").read_text())


@pytest.mark.parametrize(("name", "recorded"), SAMPLES, ids=[sample["key"] for _, sample in SAMPLES])
def test_a_sample_equals_the_recorded_official_one(name: str, recorded: dict[str, Any], tmp_path: Path) -> None:
    case, arrays = RECORDED[name], np.load(GOLDEN / "data_pipeline.npz")
    official = case["dataset_args"]
    is_activitynet = case["loader"] == "anet"
    videos = {}
    for video_id, entry in case["database"].items():
        if f"{name}_{video_id}_raw0" in arrays:
            np.save(tmp_path / f"v_{video_id}.npy", arrays[f"{name}_{video_id}_raw0"])
        one_class = official["num_classes"] == 1
        actions = tuple(Action(*item["segment"], "l0" if one_class else item["label"]) for item in entry["annotations"])
        videos[video_id] = AnnotatedVideo(video_id, entry["subset"], actions, fps=entry.get("fps"))
    config = Config(
        path=tmp_path,
        prefix="v_",
        fps=official["default_fps"] or 30.0,
        fps_from="settings" if official["default_fps"] else "annotations",
        clip_frames=official["num_frames"],
        stride_frames=official["feat_stride"],
        max_steps=official["max_seq_len"],
        crop_ratio=tuple(official["crop_ratio"]),
        min_kept=official["trunc_thresh"],
        resize_to=official["max_seq_len"] if official["force_upsampling"] else None,
        past_end="clip" if is_activitynet else "keep",
        drop_duplicates=is_activitynet,
        downsample=official["downsample_rate"],
        allow_missing=True,
    )
    built = FolderSource(config, Annotations(tuple(sorted(case["label_dict"])), videos, True), case["split"][0])
    index = [video.id for video in built.videos].index(recorded["video"])
    if recorded["training"]:
        sample = built.training_sample(index, random.Random(recorded["seed"]))
    else:
        sample = built.evaluation_sample(index)
    key = recorded["key"]
    np.testing.assert_allclose(sample.features.numpy(), arrays[f"{key}_feats"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(sample.targets.segments.numpy(), arrays[f"{key}_segments"], atol=1e-4, rtol=0)
    np.testing.assert_array_equal(sample.targets.labels.numpy(), arrays[f"{key}_labels"])
    assert sample.grid.fps == recorded["fps"]


@pytest.mark.parametrize("recorded", GRIDS, ids=lambda case: f"{case['dataset']}-{case['feats_len']}")
def test_the_time_grid_equals_the_recorded_official_one(recorded: dict[str, Any], tmp_path: Path) -> None:
    official = recorded["settings"]
    np.save(tmp_path / "v.npy", np.arange(recorded["features"], dtype=np.float32)[:, None])
    actions = tuple(Action(start, end, "run") for start, end in recorded["segments_seconds"])
    resized = official["max_seq_len"] if official.get("force_upsampling") else None
    built = source(
        tmp_path,
        AnnotatedVideo("v", "train", actions, recorded["duration"], recorded["fps_in_json"]),
        fps=float(official["default_fps"] or 1.0),
        fps_from="settings" if official["default_fps"] else "annotations",
        stride_frames=official["feat_stride"],
        clip_frames=official["num_frames"],
        downsample=official.get("downsample_rate", 1),
        resize_to=resized,
        tolerance_steps=1000,
    )
    sample = built.evaluation_sample(0)
    assert (sample.grid.fps, sample.grid.stride_frames) == (recorded["fps"], recorded["feat_stride"])
    assert sample.features.shape == (1, recorded["feats_len"])
    np.testing.assert_allclose(sample.targets.segments, recorded["segments_grid"], atol=1e-4)
    back = sample.grid.seconds(sample.targets.segments).clamp(0, recorded["duration"])
    np.testing.assert_allclose(back, recorded["back_to_seconds"], atol=1e-4)
    if "feats_row0" in recorded:
        np.testing.assert_allclose(sample.features[0], recorded["feats_row0"], atol=1e-5)


def test_native_is_each_videos_own_rate_and_must_be_stated(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", array(72))
    of_25 = source(tmp_path, video(duration_s=12.0, fps=25.0), fps="native")
    assert of_25.evaluation_sample(0).grid.fps == 25.0
    with pytest.raises(UserError, match="v has no frame rate in the annotations"):
        source(tmp_path, video(duration_s=12.0), fps="native")


def test_features_stretched_on_disk_share_the_duration(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", array(10))
    sample = source(tmp_path, video(duration_s=20.0), is_resized=True).evaluation_sample(0)
    assert (sample.grid.stride_frames, sample.grid.offset_frames) == (60.0, 30.0)
    wider = source(tmp_path, video(duration_s=20.0), is_resized=True, resize_to=40).evaluation_sample(0)
    assert (wider.features.shape[1], wider.grid.stride_frames) == (40, 15.0)
    pooled = source(tmp_path, video(duration_s=20.0), is_resized=True, resize_to=40, resize_by="roi_align")
    found = pooled.evaluation_sample(0)
    torch.testing.assert_close(found.features, resize_by_roi_align(torch.from_numpy(array(10)).T, 40))
    assert not torch.equal(found.features, wider.features)
    assert found.grid == wider.grid
    with pytest.raises(ValidationError, match=r"resize_by: found roi_align, which has no effect because resize_to is"):
        source(tmp_path, resize_by="roi_align")
    with pytest.raises(UserError, match="v has no duration"):
        source(tmp_path, is_resized=True).evaluation_sample(0)


def test_every_file_format_gives_the_same_features(tmp_path: Path) -> None:
    features = array()
    np.save(tmp_path / "v.npy", features)
    np.savez_compressed(tmp_path / "v.npz", feats=features, other=features[:1])
    torch.save(torch.from_numpy(features), tmp_path / "v.pt")
    torch.save(
        {"features": torch.from_numpy(features).half()}, tmp_path / "v_old.pt", _use_new_zipfile_serialization=False
    )
    np.save(tmp_path / "v_turned.npy", features.T)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["p_v"] = features
    forms: list[tuple[Path, dict[str, Any]]] = [
        (tmp_path, {}),
        (tmp_path, {"suffix": ".npz", "key": "feats"}),
        (tmp_path, {"suffix": ".pt"}),
        (tmp_path, {"suffix": "_old.pt", "key": "features"}),
        (tmp_path, {"suffix": "_turned.npy", "channels_first": True}),
        (tmp_path / "all.h5", {"prefix": "p_"}),
    ]
    for path, form in forms:
        built = source(path, **form)
        assert built.in_channels == 3
        found = built.evaluation_sample(0).features
        np.testing.assert_allclose(found, features.T, atol=2e-3 if "_old" in form.get("suffix", "") else 0)


def test_each_subset_may_have_a_folder_of_its_name_as_tcanets_pickles_of_hacs(tmp_path: Path) -> None:
    one, other = video("a"), replace(video("b"), subset="validation")
    for subset, steps in (("train", 20), ("validation", 30)):
        (tmp_path / subset).mkdir()
        (tmp_path / subset / f"{'a' if subset == 'train' else 'b'}.pkl").write_bytes(pickle.dumps(array(steps)))
    config = settings(tmp_path, suffix=".pkl", in_subset_folders=True)
    both = annotations_of(a=one, b=other)
    assert config.without_features(both) == []
    for subset, steps in (("train", 20), ("validation", 30)):
        np.testing.assert_array_equal(FolderSource(config, both, subset).evaluation_sample(0).features, array(steps).T)
    assert config.without_features(annotations_of(a=replace(one, subset="validation"), b=other)) == ["a"]
    (tmp_path / "train" / "gone.pkl").touch()
    with pytest.raises(UserError, match=r"gone1\.pkl is missing\. Did you mean gone\.pkl"):
        source(tmp_path, video("gone1"), suffix=".pkl", in_subset_folders=True)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["a"] = array()
    with pytest.raises(UserError, match=r"in_subset_folders is true, and .*all\.h5 is a file"):
        source(tmp_path / "all.h5", one, in_subset_folders=True)


def test_several_folders_are_put_side_by_side_and_interpolated_only_if_the_settings_say_so(tmp_path: Path) -> None:
    for name, steps, channels in (("a", 20, 3), ("b", 19, 2)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "v.npy", array(steps, channels))
    more = {"more_paths": (tmp_path / "b",)}
    with pytest.raises(UserError, match="have 20, 19 steps in the 2 folders"):
        source(tmp_path / "a", **more)
    built = source(tmp_path / "a", **more, unequal_lengths="interpolate")
    assert built.in_channels == 5
    found = built.evaluation_sample(0).features
    assert found.shape == (5, 20)
    np.testing.assert_array_equal(found[:3], array(20, 3).T)


def clip(name: str = "clip", first: int = 5, end: int = 15, whole: str = "v") -> AnnotatedVideo:
    return AnnotatedVideo(name, "train", (Action(0.5, 1.0, "run"),), rows=FeatureRows(whole, first, end))


def test_rows_of_a_clip_are_read_from_the_file_of_its_whole_video_in_every_format(tmp_path: Path) -> None:
    features = array()
    np.save(tmp_path / "v.npy", features)
    np.savez_compressed(tmp_path / "v.npz", feats=features)
    torch.save(torch.from_numpy(features), tmp_path / "v.pt")
    np.save(tmp_path / "v_turned.npy", features.T)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["v"] = features
    forms: list[tuple[Path, dict[str, Any]]] = [
        (tmp_path, {}),
        (tmp_path, {"suffix": ".npz"}),
        (tmp_path, {"suffix": ".pt"}),
        (tmp_path, {"suffix": "_turned.npy", "channels_first": True}),
        (tmp_path / "all.h5", {}),
    ]
    for path, form in forms:
        built = source(path, clip(), clip("late", 15, 30), **form)
        np.testing.assert_array_equal(built.evaluation_sample(0).features, features[5:15].T)
        np.testing.assert_array_equal(built.evaluation_sample(1).features, features[15:].T)


def test_a_part_of_the_channels_is_used_of_each_file(tmp_path: Path) -> None:
    features = array(20, 6)
    np.save(tmp_path / "v.npy", features)
    np.save(tmp_path / "v_turned.npy", features.T)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["v"] = features
    forms: list[tuple[Path, dict[str, Any]]] = [
        (tmp_path, {}),
        (tmp_path, {"suffix": "_turned.npy", "channels_first": True}),
        (tmp_path / "all.h5", {}),
    ]
    for path, form in forms:
        built = source(path, channels=(2, 5), **form)
        assert built.in_channels == 3
        np.testing.assert_array_equal(built.evaluation_sample(0).features, features[:, 2:5].T)
        np.testing.assert_array_equal(built.config.read_rows(video(), 4, 9), features[4:9, 2:5])
    np.testing.assert_array_equal(
        source(tmp_path, clip(), channels=(2, 5)).evaluation_sample(0).features, features[5:15, 2:5].T
    )
    with pytest.raises(UserError, match=r"v\.npy has 6 channels, and features\.channels is \[4, 7\]"):
        source(tmp_path, channels=(4, 7))
    with pytest.raises(UserError, match=r"with nothing in \[0:, 6:9\]"):
        source(tmp_path, channels=(6, 9))
    with pytest.raises(ValidationError, match=r"channels: found \[5, 5\], expected two numbers, the smaller first"):
        settings(tmp_path, channels=(5, 5))


def test_a_clips_own_file_is_read_whole_also_next_to_a_folder_of_whole_videos(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "a/v.npy", array(20, 3))
    np.save(tmp_path / "b/clip.npy", array(10, 2))
    found = source(tmp_path / "a", clip(), more_paths=(tmp_path / "b",)).evaluation_sample(0).features
    np.testing.assert_array_equal(found, np.concatenate([array(20, 3)[5:15], array(10, 2)], axis=1).T)


def test_a_clip_without_files_is_missing_and_one_beyond_its_video_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", array())
    both = annotations_of(clip=clip(), gone=clip("gone", whole="other"))
    assert settings(tmp_path).without_features(both) == ["gone"]
    with pytest.raises(UserError, match=r"v\.npy: its shape is \(20, 3\), with nothing in \[20:30\]"):
        source(tmp_path, clip(first=20, end=30))


def test_videos_without_a_file_are_listed_for_prepare_and_refused_unless_allowed(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", array())
    both = annotations_of(v=video(), gone=video("gone"))
    assert settings(tmp_path).without_features(both) == ["gone"]
    with pytest.raises(UserError, match="missing: gone"):
        FolderSource(settings(tmp_path), both, "train")
    built = FolderSource(settings(tmp_path, allow_missing=True), both, "train")
    assert [one.id for one in built.missing] == ["gone"]
    with pytest.raises(UserError, match=r"Check features\.path"):
        source(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("steps", "fps_of_video", "cause"),
    [
        (72, 30.0, "features.fps=30"),  # the settings of this test say 15 frames per second
        (72, 29.97, "features.fps_from=annotations"),
        (16, None, "features.stride_frames=8"),
        (9, None, "features.stride_frames=16"),
        (400, None, "channels before steps (features.channels_first)"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused_with_the_likely_cause(
    steps: int, fps_of_video: float | None, cause: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "v.npy", array(steps))
    fps_of_video = None if cause == "features.fps=30" else fps_of_video
    with pytest.raises(UserError, match="The likely cause") as caught:
        source(tmp_path, video(duration_s=10.0, fps=fps_of_video), fps=15.0)
    assert cause in str(caught.value)


def test_a_few_misfits_can_be_allowed_and_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, steps in (("a", 72), ("b", 72), ("odd", 30)):
        np.save(tmp_path / f"{name}.npy", array(steps))
    videos = [video(name, duration_s=10.0) for name in ("a", "b", "odd")]
    with pytest.raises(UserError, match="these videos were cut or damaged"):
        source(tmp_path, *videos)
    source(tmp_path, *videos, allow_misfits=True)
    assert "odd has 30 rows, not 72" in capsys.readouterr().err


def test_the_folder_that_lacks_a_video_is_named(tmp_path: Path) -> None:
    for folder, names in (("rgb", "vw"), ("flow", "vx"), ("audio", "vwx")):
        (tmp_path / folder).mkdir()
        for name in names:
            np.save(tmp_path / folder / f"{name}.npy", array())
    more = {"more_paths": (tmp_path / "flow", tmp_path / "audio")}
    with pytest.raises(UserError) as caught:
        source(tmp_path / "rgb", *map(video, "vwxy"), **more)
    flow, rgb = tmp_path / "flow", tmp_path / "rgb"
    listed = f"w (not in {flow}), x (not in {rgb}), y (not in {rgb} and {flow} and {tmp_path / 'audio'})"
    assert caught.value.found == f"The folders have features of 1 of 4 videos of the subset 'train'; missing: {listed}."


def test_the_cause_that_is_named_fits_all_videos_of_mixed_rates(tmp_path: Path) -> None:
    videos = [video(f"v{number}", 20.0 + number, fps) for number, fps in enumerate((30.0, 25.0, 30.0, 25.0, 23.976))]
    right = settings(tmp_path, fps="native", stride_frames=8)
    for one in videos:
        np.save(tmp_path / f"{one.id}.npy", array(expected_rows(right, one)))
    for stride in (16, 4, 5):
        with pytest.raises(UserError, match=r"features\.stride_frames=8 would fit all 5 videos") as caught:
            source(tmp_path, *videos, fps="native", stride_frames=stride)
        assert "features.fps" not in caught.value.found
    np.save(tmp_path / "v0.npy", array(7))
    with pytest.raises(UserError, match=r"features\.stride_frames=8 would fit 4 of 5 videos"):
        source(tmp_path, *videos, fps="native", stride_frames=16)


def test_an_unusual_stride_is_found_where_no_usual_one_fits_as_many(tmp_path: Path) -> None:
    videos = [video(f"v{number}", 60.0 + number, 30.0) for number in range(3)]
    right = settings(tmp_path, stride_frames=6)
    for one in videos:
        np.save(tmp_path / f"{one.id}.npy", array(expected_rows(right, one)))
    with pytest.raises(UserError, match=r"features\.stride_frames=6 would fit all 3 videos"):
        source(tmp_path, *videos, stride_frames=4)
