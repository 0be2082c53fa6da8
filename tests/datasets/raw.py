"""Tiny original files of every dataset, as `Config.small(folder)` expects them; rows of published data are excerpts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from actloc.annotations.recognition_classes import class_names
from tests.toy import make_video

GOLDEN = Path(__file__).parent.parent / "golden" / "datasets"


def _custom(folder: Path) -> None:
    for number in range(2):
        make_video(folder / "videos" / f"v{number}.mp4", [], 2.0)
    (folder / "labels.csv").write_text("video,start,end,label,subset\nv0,0,1,run,train\nv1,0,1,run,test\n")


def _video_folder(folder: Path) -> None:
    make_video(folder / "videos" / "v0.mp4", [], 2.0)


def _spliced_clips(folder: Path) -> None:
    for clip in ("background_a", "run", "jump"):
        make_video(folder / "clips" / f"{clip}.mp4", [("red", 0, 1)], 8.0)


def _thumos14(folder: Path) -> None:
    lines = {
        "annotation_val/Diving_val": "video_validation_0000161  11.3 14.1\nvideo_validation_0000161  21.0 23.9\n",
        "annotation_val/CliffDiving_val": "video_validation_0000161  11.3 14.1\n",
        "annotation_val/Ambiguous_val": "video_validation_0000160  155.2 160.6\n",
        "annotation_test/Diving_test": "video_test_0000004  0.2 1.1\nvideo_test_0000270  170.0 181.0\n",
        "annotation_test/CliffDiving_test": "video_test_0001496  1.0 2.0\n\n",
        "annotation_test/Ambiguous_test": "video_test_0001292  1.0 2.0\n",
        "annotation_test/detclasslist": "7 BaseballPitch\n",
    }
    for name, text in lines.items():
        path = folder / "txt" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "metadata").mkdir()
    (folder / "metadata/thumos14_test_metadata.csv").write_text(
        "filename,video-duration,fps,video-frames\n"
        "video_test_0000004.mp4,33.7333333333333,30,1012\nvideo_test_0000270.mp4,176.13,30,5284\n"
    )


def _activitynet13(folder: Path) -> None:
    header = "video-name,t-start,t-end,action-label,video-duration,filename,fps,video-frames,temporal-region-label\n"
    rows = {
        "train": "sJFgo9H6zNo,0.01,123.4,Fun sliding down,138.9,v_sJFgo9H6zNo.mp4,30.0,4169,Action\n"
        "sJFgo9H6zNo,123.4,138.9,Fun sliding down,138.9,v_sJFgo9H6zNo.mp4,30.0,4169,No action\n"
        "F_EHrfbYsRE,1,2,Kneeling,138.9,v_F_EHrfbYsRE.mp4,30.0,4169,Action\n",
        "valid": "JDg--pjY5gg,61.42,64.56,Beer pong,126.1,v_JDg--pjY5gg.mp4,30.0,3784,Action\n"
        "JDg--pjY5gg,61.42,64.56,Beer pong,126.1,v_JDg--pjY5gg.mp4,30.0,3784,Action\n"
        "PLek2e8NlKc,8.2,190.5,Kneeling,184.5,v_PLek2e8NlKc.mp4,30.0,5537,Action\n"
        "PLek2e8NlKc,8.2,8.2,Kneeling,184.5,v_PLek2e8NlKc.mp4,30.0,5537,Action\n",
    }
    (folder / "tsp").mkdir(parents=True)
    for split, text in rows.items():
        (folder / f"tsp/activitynet_v1-3_{split}_tsp_groundtruth.csv").write_text(header + text)
    (folder / "blocked.json").write_text('["v_F_EHrfbYsRE"]')


def _epic_kitchens100(folder: Path) -> None:
    shutil.copytree(GOLDEN / "epic_raw", folder / "epic")


def _ego4d_mq(folder: Path) -> None:
    shutil.copytree(GOLDEN / "ego4d_raw", folder / "moments")


def _activitynet_form(path: Path, entries: dict[str, tuple[str, object, list[tuple[float, float, str]]]]) -> None:
    """A made-up file in the form of ActivityNet's: subset, duration and actions by video."""
    database = {
        video_id: {
            "subset": subset,
            "duration": duration,
            "annotations": [{"segment": [start, end], "label": label} for start, end, label in actions],
        }
        for video_id, (subset, duration, actions) in entries.items()
    }
    path.write_text(json.dumps({"version": "made up", "database": database}))


def _hacs(folder: Path) -> None:
    """Made up, with durations as text like the official ones."""
    folder.mkdir(parents=True, exist_ok=True)
    _activitynet_form(
        folder / "HACS_segments_v1.1.1.json",
        {
            "aaaaaaaaaa0": ("training", "90.5", [(1.5, 20, "Archery"), (1.5, 20, "Archery"), (30, 31, "Beer pong")]),
            "aaaaaaaaaa1": ("validation", "60.0", [(50, 61.25, "Beer pong"), (5, 5, "Archery")]),
            "aaaaaaaaaa2": ("testing", "12.34", []),
        },
    )


def _fineaction(folder: Path) -> None:
    """Made up."""
    folder.mkdir(parents=True, exist_ok=True)
    _activitynet_form(
        folder / "annotations_gt.json",
        {
            "v_00000001": ("training", 30.0, [(0.2, 1.1, "putting a plate"), (2, 2.5, "pass basketball")]),
            "v_00000002": ("validation", 10.0, [(8, 10.5, "pass basketball"), (7, 6, "putting a plate")]),
            "v_00000003": ("testing", 20.0, []),
        },
    )


def _epic_sounds(folder: Path) -> None:
    """Made-up rows with the official columns."""
    header = (
        "annotation_id,participant_id,video_id,start_timestamp,stop_timestamp,start_sample,stop_sample,"
        "description,class,class_id\n"
    )
    write_files(
        folder / "epic_sounds",
        {
            "EPIC_Sounds_train.csv": header
            + "P91_01_0,P91,P91_01,00:00:01.089,00:00:03.500,26136,84000,rustle,rustle,4\n"
            + 'P91_01_1,P91,P91_01,01:02:03.100,01:02:04.250,89354400,89382000,"click, twice",click,3\n',
            "EPIC_Sounds_validation.csv": header
            + "P92_117_0,P92,P92_117,00:00:00.000,00:00:59.999,0,1439976,water,water,43\n",
            "EPIC_Sounds_detection_test_videos.csv": "video_id\nP93_02\n",
            "EPIC_100_video_info.csv": "video_id,duration,fps,resolution\nP91_01,4000.5,59.94,1920x1080\n"
            "P92_117,59.5,50.0,1920x1080\n",
        },
    )


def _multithumos(folder: Path) -> None:
    (folder / "multithumos.json").write_text(
        json.dumps(
            {
                "video_test_0000896": {"subset": "testing", "duration": 226.77, "actions": [[12, 18.6, 24.8]]},
                "video_validation_0000161": {
                    "subset": "training",
                    "duration": 90.0,
                    "actions": [[1, 5, 5], [65, 80, 91]],
                },
            }
        )
    )


def _charades(folder: Path) -> None:
    (folder / "charades.json").write_text(
        json.dumps(
            {
                "S9KOH": {"subset": "training", "duration": 8.0, "actions": [[20, 0.0, 9.0], [0, 18.0, 10.0]]},
                "7UPGT": {"subset": "testing", "duration": 23.21, "actions": [[156, 16.0, 22.2]]},
            }
        )
    )


def _hapt(folder: Path) -> None:
    """Two made-up people: the real recordings may not be copied."""
    raw = folder / "hapt/RawData"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for experiment, person in ((1, 1), (2, 2)):
        for sensor in ("acc", "gyro"):
            samples = generator.normal(person, 2.0, (120 + experiment, 3))
            np.savetxt(raw / f"{sensor}_exp{experiment:02d}_user{person:02d}.txt", samples)
    (raw / "labels.txt").write_text("1 1 1 11 60\n1 1 2 61 130\n2 2 1 1 50\n9 2 1 1 50\n")
    (folder / "hapt/activity_labels.txt").write_text("1 WALKING           \n2 SITTING\n")
    (folder / "hapt/subject_id_train.txt").write_text("1\n1\n")
    (folder / "hapt/subject_id_test.txt").write_text("2\n")


def make_frames(folder: Path, count: int, name: str = "{:05d}.jpg") -> Path:
    """A folder of grey frames, without frames.json."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (16, 12), (8 * number % 256,) * 3).save(folder / name.format(number + 1))
    return folder


def make_clips(folder: Path, *names: str) -> None:
    """Videos of one second, copies of one."""
    made = make_video(folder.parent / "clip.mp4", [], 1.0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made, path)


def write_files(folder: Path, files: dict[str, str]) -> None:
    """Text files by name."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _kinetics(folder: Path) -> None:
    header = "label,youtube_id,time_start,time_end,split\n"
    write_files(
        folder / "csv",
        {
            "kinetics-400_train.csv": header
            + 'testifying,---QUuC4vJs,84,94,train\n"massaging person\'s head",_cii-Z0dW2E,2,12,train\n',
            "kinetics-400_val.csv": header + "eating spaghetti,aa_b-cdefgh,68,78,val\n",
        },
    )
    make_clips(
        folder / "videos",
        "train/testifying/---QUuC4vJs_000084_000094.mp4",
        "train/massaging_person's_head/_cii-Z0dW2E_000002_000012.mkv",
        "val/part_3/aa_b-cdefgh_000068_000078.mp4",
    )


def _something_something(folder: Path) -> None:
    write_files(
        folder / "lists",
        {
            "something-something-v1-train.csv": "100218;Something falling like a feather or paper\n",
            "something-something-v1-validation.csv": "74225;Holding something\n",
            "something-something-v1-test.csv": "9\n",
        },
    )
    make_frames(folder / "videos/100218", 3)
    make_frames(folder / "videos/74225", 2)


def _ucf101(folder: Path) -> None:
    write_files(
        folder / "lists",
        {
            "trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\n"
            "HandstandPushups/v_HandStandPushups_g08_c01.avi 37\n",
            "testlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\n",
        },
    )
    make_clips(
        folder / "videos",
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
        "HandstandPushups/v_HandStandPushups_g08_c01.avi",
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
    )


def _hmdb51(folder: Path) -> None:
    lines = {"run": "#1 a&b_run_f_cm_np1_ba_med_0.avi 1 \nx_run_1.avi 2 \nunused_run_2.avi 0 \n", "walk": "x.avi 1 \n"}
    names = (f"{label}_test_split1.txt" for label in class_names("hmdb51"))
    write_files(folder / "lists", {name: lines.get(name.partition("_")[0], "") for name in names})
    make_clips(folder / "videos", "run/#1 a&b_run_f_cm_np1_ba_med_0.avi", "run/x_run_1.avi", "walk/x.avi")


def _diving48(folder: Path) -> None:
    entry = {"start_frame": 0, "end_frame": 30}
    lists = {
        "train": [{"vid_name": "b8NAjD1mTAg_00066", "label": 12, **entry}],
        "test": [{"vid_name": "b8NAjD1mTAg_00067", "label": 0, **entry}],
    }
    write_files(folder / "lists", {f"Diving48_V2_{name}.json": json.dumps(rows) for name, rows in lists.items()})
    make_clips(folder / "videos", "rgb/b8NAjD1mTAg_00066.mp4", "rgb/b8NAjD1mTAg_00067.mp4")


def _clip_lists(folder: Path) -> None:
    write_files(folder, {"train.txt": "run/a b.mp4 30 0\njump/c 5 1\n", "test.txt": "/data/all/run/d.mp4 30 0\n"})
    make_clips(folder / "videos", "run/a b.mp4", "run/d.mp4")
    make_frames(folder / "videos/jump/c", 5, "img_{:05d}.png")


def _custom_clips(folder: Path) -> None:
    make_clips(
        folder / "videos", *(f"{subset}/{label}/1.mp4" for subset in ("train", "test") for label in ("a", "b c"))
    )


RAW: dict[str, Callable[[Path], None]] = {
    "custom": _custom,
    "video_folder": _video_folder,
    "spliced_clips": _spliced_clips,
    "thumos14": _thumos14,
    "activitynet13": _activitynet13,
    "epic_kitchens100": _epic_kitchens100,
    "ego4d_mq": _ego4d_mq,
    "multithumos": _multithumos,
    "charades": _charades,
    "hacs": _hacs,
    "fineaction": _fineaction,
    "epic_sounds": _epic_sounds,
    "hapt": _hapt,
    "kinetics": _kinetics,
    "something_something": _something_something,
    "ucf101": _ucf101,
    "hmdb51": _hmdb51,
    "diving48": _diving48,
    "clip_lists": _clip_lists,
    "custom_clips": _custom_clips,
}
