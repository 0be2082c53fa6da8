"""Published datasets with their videos: which file belongs to which id, and features made of them."""

import json
import shutil
from pathlib import Path

import pytest

from actloc.annotations import form as annotation_form
from actloc.annotations.model import AnnotatedVideo
from actloc.errors import UserError
from actloc.store.store import FeatureStore
from actloc.video import ffmpeg
from actloc.video.folder import with_files
from tests.toy import CONFIG, SCENES, TEST_VIDEOS, actloc, make_toy
from tests.videos import Clips

HEAD = CONFIG[CONFIG.index("detector:") :]
ENCODED = """\
features:
  name: encoded
  preset: full
  encoder: {name: color, short_side: 32}
  fps: FPS
  clip_frames: 2
  stride_frames: 2
  max_steps: 16
  mirror: 0.5
  photometric: 0.5
  rotation: 0.5
  rand_augment: 2
  color_jitter: 0.5
  color_jitter_hue: 0.1
"""


def listed(*ids: str, duration_s: float | None = 2.0) -> dict[str, AnnotatedVideo]:
    return {video_id: AnnotatedVideo(video_id, "train", duration_s=duration_s) for video_id in ids}


def test_files_are_found_by_id_in_the_folder_and_in_folders_in_it(
    clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("v_a.mp4", "val/b.MKV", "val/v_v_c.webm", "other/unknown.mp4", "val/notes.txt", "val/deep/e.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(clips["plain.mp4"], tmp_path / name)
    ffmpeg.extract_frames(clips["plain.mp4"], tmp_path / "frames/d", fps=5, short_side=32)
    found = with_files(listed("a", "b", "v_c", "d", "e", "f"), tmp_path, prefix="v_")
    files = [video.file and str(video.file.relative_to(tmp_path)) for video in found.values()]
    assert files == ["v_a.mp4", "val/b.MKV", "val/v_v_c.webm", "frames/d", None, None]
    assert "has 4 of 6 videos; missing: e, f" in capsys.readouterr().err


def test_durations_that_the_annotations_do_not_state_come_from_the_headers(clips: Clips, tmp_path: Path) -> None:
    shutil.copy(clips["plain.mp4"], tmp_path / "a.mp4")
    ffmpeg.extract_frames(clips["plain.mp4"], tmp_path / "b", fps=5, short_side=32)
    found = with_files({**listed("a", "c", duration_s=None), **listed("b", duration_s=1.75)}, tmp_path)
    assert [(video.duration_s, video.fps) for video in found.values()] == [(2.0, 30.0), (None, None), (1.75, None)]


def test_two_files_of_one_id_and_a_folder_without_any_are_refused(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"contains none of 2 videos, such as a, b\."):
        with_files(listed("a", "b"), tmp_path)
    for name in ("a.mp4", "val/v_a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(clips["plain.mp4"], tmp_path / name)
    with pytest.raises(UserError, match=r"a\.mp4 and .*v_a\.mp4 would both be the video a"):
        with_files(listed("a", "b"), tmp_path, prefix="v_")


def name_of(video: str) -> str:
    """A THUMOS14 id of a toy video."""
    return f"video_{'test' if video in TEST_VIDEOS else 'validation'}_000000{video[1:]}"


@pytest.fixture(scope="module")
def thumos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy videos under THUMOS14's names, with its text files."""
    folder = make_toy(tmp_path_factory.mktemp("thumos") / "toy")
    for video, scene in SCENES.items():
        target = folder / "videos" / ("test" if video in TEST_VIDEOS else "val") / f"{name_of(video)}.mp4"
        target.parent.mkdir(exist_ok=True)
        (folder / f"videos/{video}.mp4").rename(target)
        for colour, start, end in scene:
            split = "test" if video in TEST_VIDEOS else "val"
            text = folder / f"txt/{colour}_{split}.txt"
            text.parent.mkdir(exist_ok=True)
            with text.open("a") as stream:
                stream.write(f"{name_of(video)}  {start} {end}\n")
    dataset = "dataset: {name: thumos14, folder: prepared, annotations: txt, videos: videos, test_set: 213}\n"
    (folder / "toy.yaml").write_text(dataset + ENCODED.replace("FPS", "15") + HEAD)
    done = actloc(folder, "prepare", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert "Next: actloc train" in done.stderr
    return folder


def test_thumos_is_trained_and_scored_from_its_videos(thumos: Path) -> None:
    found = annotation_form.read(thumos / "prepared/annotations.json").videos
    assert {video.duration_s for video in found.values()} == {4.0}
    for command in (("train", "toy.yaml"), ("eval", "ckpt/toy"), ("extract-features", "ckpt/toy")):
        done = actloc(thumos, *command)
        assert done.returncode == 0, done.stderr
    store = FeatureStore(thumos / "ckpt/toy/features")
    assert set(store.ids()) == {name_of(video) for video in SCENES if SCENES[video]}
    assert {store.read(name).shape for name in store.ids()} == {(30, 6)}


def test_videos_that_are_missing_are_listed_and_left_out_if_that_is_allowed(thumos: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(thumos, tmp_path / "toy", ignore=shutil.ignore_patterns("ckpt", "prepared"))
    (folder / "videos/val/video_validation_0000003.mp4").unlink()
    done = actloc(folder, "prepare", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert "videos has 4 of 5 videos; missing: video_validation_0000003" in done.stderr
    done = actloc(folder, "train", "toy.yaml")
    assert done.returncode == 2
    assert "missing: video_validation_0000003" in done.stderr
    assert "actloc prepare toy.yaml dataset.videos=FOLDER --overwrite" in done.stderr
    assert "features.allow_missing=true" in done.stderr
    done = actloc(folder, "train", "toy.yaml", "features.allow_missing=true")
    assert done.returncode == 0, done.stderr


def as_activitynet(thumos: Path, folder: Path) -> Path:
    """The same videos under short names, with ActivityNet's JSON."""
    database = {}
    (folder / "videos").mkdir(parents=True)
    for video in annotation_form.read(thumos / "prepared/annotations.json").videos.values():
        subset = "training" if video.subset == "Validation" else "validation"
        actions = [{"segment": [a.start_s, a.end_s], "label": a.label} for a in video.actions]
        database[video.id[-7:]] = {"subset": subset, "duration": 4.0, "annotations": actions}
        assert video.file is not None
        shutil.copy(thumos / video.file, folder / f"videos/v_{video.id[-7:]}.mp4")
    (folder / "anet.json").write_text(json.dumps({"database": database}))
    return folder


def test_activitynet_is_trained_from_videos_of_few_frames(thumos: Path, tmp_path: Path) -> None:
    folder = as_activitynet(thumos, tmp_path / "toy")
    (folder / "toy.yaml").write_text(
        "dataset: {name: activitynet13, folder: prepared, annotations: anet.json, videos: videos}\n"
        "preparation: {videos: reencode, fps: native, most_frames: 48, size: [32, 32]}\n"
        + ENCODED.replace("FPS", "native")
        + HEAD
    )
    for command in (("prepare", "toy.yaml"), ("train", "toy.yaml"), ("eval", "ckpt/toy")):
        done = actloc(folder, *command)
        assert done.returncode == 0, done.stderr
    found = annotation_form.read(folder / "prepared/annotations.json").videos
    assert {video.file.parent.name for video in found.values() if video.file} == {
        "reencoded_nativefps_most48_32x32px_every30"
    }
    done = actloc(folder, "extract-features", "ckpt/toy")
    assert done.returncode == 0, done.stderr
    store = FeatureStore(folder / "ckpt/toy/features")
    assert {(store.read(name).shape, store.info(name).fps) for name in store.ids()} == {((24, 6), 12.0)}
    predicted = actloc(folder, "predict", "ckpt/toy", "videos/v_0000002.mp4", "--set", "prediction.threshold=0.0")
    assert predicted.returncode == 0, predicted.stderr


SMALL = (
    "features.encoder.size={dim: 8, depths: [1, 1, 1, 1], heads: [1, 1, 2, 2]}",
    "features.encoder.side=40",
    "features.encoder.crop=32",
    "features.encoder.weights=null",
    "detector.dim=32",
    "detector.consistency_heads=2",
    "schedule.epochs=2",
    "training.batch_size=2",
    "training.accumulate=1",
    "machine.device=cpu",
    "dataset.videos=videos",
    "run.name=small",
)


def run_config(folder: Path, name: str, *settings: str) -> None:
    """The commands in the header of a config of TALLFormer, with small networks."""
    config = str(Path("configs").absolute() / f"{name}.yaml")
    commands: list[tuple[str, ...]] = [("prepare",), ("extract-features",), ("train",)]
    for command in commands:
        done = actloc(folder, *command, config, *SMALL, *settings)
        assert done.returncode == 0, done.stderr
    for command in (("eval", "ckpt/small"), ("report", "ckpt/small")):
        done = actloc(folder, *command)
        assert done.returncode == 0, done.stderr


def test_the_config_of_thumos_runs_from_the_videos_to_the_report(thumos: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(thumos, tmp_path / "toy", ignore=shutil.ignore_patterns("ckpt", "prepared"))
    detector = ("detector.num_heads=2", "detector.head_dim=16", "schedule.restart_epochs=1", "schedule.warmup_steps=1")
    settings = ("dataset.folder=p", "dataset.annotations=txt", "dataset.test_set=213", "features.bank=bank", *detector)
    run_config(folder, "thumos14_video_swin_t_128_tallformer", *settings)
    bank = FeatureStore(folder / "bank")
    assert {bank.read(name).shape for name in bank.ids()} == {(30, 64)}  # a row for every second of 60 frames


def test_the_config_of_activitynet_runs_from_the_videos_to_the_report(thumos: Path, tmp_path: Path) -> None:
    folder = as_activitynet(thumos, tmp_path / "toy")
    settings = ("dataset.folder=p", "dataset.annotations=anet.json", "preparation.most_frames=48", "features.bank=bank")
    run_config(folder, "activitynet13_video_swin_b_tallformer", *settings, "detector.norm_groups=4")
    bank = FeatureStore(folder / "bank")
    assert {bank.read(name).shape for name in bank.ids()} == {(24, 64)}
