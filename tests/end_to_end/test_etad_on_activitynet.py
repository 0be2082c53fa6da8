"""`configs/activitynet13_tsp_etad.yaml` from annotations to a report, on small data of ActivityNet's own form."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actloc.evaluation.results import Results
from actloc.evaluation.results_files import read_results
from tests.toy import actloc

NAME = "activitynet13_tsp_etad"
SETTINGS = (  # the config but for paths, a smaller network and smaller batches
    *("dataset.folder=prepared", "dataset.annotations=activity_net.v1-3.min.json", "features.path=tsp_features"),
    *("detector.dim=64", "detector.head_dim=32", "detector.trunk_dim=64"),
    *("training.batch_size=2", "fusion.scores=cuhk_val_simp_7.json", "machine.device=cpu"),
)
LABELS = ("Kayaking", "Archery", "Ironing clothes")
BLOCKED = ("F_EHrfbYsRE", "T_5ANYuDWOA")  # on ETAD's list
MISJUDGED = "val_02"
TRAINING = [f"train_{number:02}" for number in range(16)]
VALIDATION = [f"val_{number:02}" for number in range(6)]
FEATURES_PER_S = 15 / 16


def make(folder: Path) -> None:
    """Annotations, TSP features and class scores, in the forms in which they are published."""
    generator = np.random.default_rng(0)
    (folder / "tsp_features").mkdir(parents=True)
    pattern = generator.standard_normal(512).astype(np.float32)
    database: dict[str, dict[str, Any]] = {}
    for number, video_id in enumerate([*TRAINING, *VALIDATION, *BLOCKED, "train_brief"]):
        duration = round(generator.uniform(60, 200), 2)
        features = 0.5 * generator.standard_normal((int(duration * FEATURES_PER_S), 512)).astype(np.float32)
        starts = [generator.uniform(0.02, 0.1)] if number % 2 else [generator.uniform(0.02, 0.1), 0.5]
        segments = [[start * duration, (start + generator.uniform(0.15, 0.4)) * duration] for start in starts]
        if video_id == "train_brief":
            segments = [[10.0, 10.0 + 0.009 * duration]]
        for start, end in segments:
            features[round(start * FEATURES_PER_S) : round(end * FEATURES_PER_S)] += pattern
        np.save(folder / f"tsp_features/v_{video_id}.npy", features)
        database[video_id] = {
            "duration": duration,
            "subset": "training" if video_id.startswith("train") else "validation",
            "resolution": "320x240",
            "url": f"https://www.youtube.com/watch?v={video_id}",
            "annotations": [{"segment": segment, "label": LABELS[number % 3]} for segment in segments],
        }
    database["hidden"] = {**database["val_00"], "subset": "testing", "annotations": []}
    whole = {"version": "VERSION 1.3", "taxonomy": [], "database": database}
    (folder / "activity_net.v1-3.min.json").write_text(json.dumps(whole))
    scores = {}
    for video_id in [*VALIDATION, *BLOCKED]:
        right = LABELS.index(database[video_id]["annotations"][0]["label"])
        row = np.full(3, 0.05)
        row[right], row[(right + 1) % 3] = (0.1, 0.85) if video_id == MISJUDGED else (0.8, 0.15)
        scores[video_id] = row.tolist()
    (folder / "cuhk_val_simp_7.json").write_text(json.dumps({"results": scores, "class": LABELS}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data with a trained run."""
    folder = tmp_path_factory.mktemp("activitynet") / "set"
    make(folder)
    prepared = run(folder, "prepare", NAME, *SETTINGS)
    assert "Excluded 2 videos (blocked list: etad)" in prepared
    trained = run(folder, "train", NAME, *SETTINGS)
    assert "Left out 1 training video without an action of more than 0.01 of the video" in trained
    assert "16 videos with 24 actions of 1 class" in trained
    return folder


def run(folder: Path, *arguments: str) -> str:
    """What the command wrote to stderr, in one line."""
    done = actloc(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stderr.split())


def scored(folder: Path, *settings: str) -> tuple[Results, dict[str, list[dict[str, Any]]]]:
    """The results, and the predictions of each video."""
    done = actloc(folder, "eval", f"ckpt/{NAME}", *settings, "--json")
    assert done.returncode == 0, done.stderr
    where = (folder / json.loads(done.stdout.splitlines()[-1])["path"]).parent
    return read_results(where), json.loads((where / "predictions.json").read_text())["results"]


def test_videos_get_their_classes_from_the_classifier_and_scores_are_far_above_chance(folder: Path) -> None:
    one_class, plain = scored(folder, "fusion.scores=null")
    assert one_class.classes == ["action"]
    assert one_class.classifier is None
    # the same detections in other videos are what segments of the usual length and place give
    others = dict(zip(plain, [*list(plain.values())[1:], next(iter(plain.values()))], strict=True))
    (folder / "others.json").write_text(json.dumps({"results": others}))
    chance = scored(folder, "--predictions", "others.json", "fusion.scores=null")[0].average_map

    fused, of_fused = scored(folder)
    assert (fused.variant, fused.counts.videos) == ("without the 79 videos that ETAD blocks", 6)
    assert fused.classes == sorted(LABELS)
    classifier = fused.classifier
    assert classifier is not None
    assert classifier.sha256 == hashlib.sha256((folder / "cuhk_val_simp_7.json").read_bytes()).hexdigest()
    assert (classifier.file, classifier.form, classifier.rule) == ("cuhk_val_simp_7.json", "cuhk", "product")
    assert (classifier.top_k, classifier.top_1) == (2, 5 / 6)
    for video_id, listed in of_fused.items():
        number = len(plain[video_id])
        assert 0 < number <= 100
        assert len(listed) == 2 * number
        (best,), (second,) = ({one["label"] for one in part} for part in (listed[:number], listed[number:]))
        right = LABELS.index(next(one for one in fused.videos if one.id == video_id).truth[0].label)
        expected = [LABELS[right], LABELS[(right + 1) % 3]]
        assert [best, second] == (expected[::-1] if video_id == MISJUDGED else expected)
        ratios = [one["score"] / own["score"] for one, own in zip(listed, plain[video_id] * 2, strict=True)]
        first, other = (0.85, 0.1) if video_id == MISJUDGED else (0.8, 0.15)
        np.testing.assert_allclose(ratios, np.repeat([first, other], number), rtol=1e-6)

    truth, _ = scored(folder, "fusion.scores=truth")
    assert truth.classifier is not None
    assert truth.classifier.is_upper_bound
    # of videos with one class, the bound that is reported beside the classifier is what true classes give
    assert truth.mean_ap == pytest.approx(classifier.true_class_mean_ap, abs=1e-12)
    assert chance is not None
    assert chance < 0.3
    values = [results.average_map or 0 for results in (one_class, fused, truth)]
    assert min(values) > chance + 0.4, (chance, values)
    assert values[1] < values[2]

    run(folder, "report", f"ckpt/{NAME}")
    tables = (folder / f"ckpt/{NAME}/tables.md").read_text().replace("\\", "")
    for expected_text in ("cuhk_val_simp_7.json, product, top 2", "true classes: upper bound", fused.variant):
        assert expected_text in tables
