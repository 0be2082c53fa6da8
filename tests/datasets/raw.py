"""Tiny original files of every dataset, as `Config.small(folder)` expects them; rows of published data are excerpts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

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
    "hapt": _hapt,
}
