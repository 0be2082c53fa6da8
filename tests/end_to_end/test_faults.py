"""Check before destroying; names and small files that are odd or damaged; files that belong together."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.toy import actloc, copy_toy, digests, leftovers


def test_overwrite_leaves_a_users_own_files_in_a_run(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    assert actloc(folder, "eval", "toy.yaml").returncode == 0
    notes = [folder / "ckpt/toy" / place / "notes.txt" for place in ("", "eval/test", "tb", "ckpt_000008", "mine")]
    for path in notes:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    done = actloc(folder, "train", "toy.yaml", "run.seed=1", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert [path.read_text() for path in notes[:3] + notes[4:]] == ["mine"] * 4
    assert not (folder / "ckpt/toy/eval/test/metrics.json").exists()


def test_overwrite_deletes_no_features_before_the_device_and_the_videos_are_there(
    encoded: Path, tmp_path: Path
) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    before = digests(folder / "features")
    assert actloc(folder, "extract-features", "toy.yaml", "machine.device=cuda:7", "--overwrite").returncode == 2
    assert digests(folder / "features") == before
    (folder / "videos/v0.mp4").unlink()
    done = actloc(folder, "extract-features", "toy.yaml", "--overwrite")
    assert done.returncode == 2
    assert "v0" in done.stderr
    assert digests(folder / "features") == before


def test_overwrite_gives_up_no_run_for_features_that_cannot_be_read(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    features = folder / "features/v3.h5"
    content = features.read_bytes()
    features.write_bytes(content[:3000] + bytes([content[3000] ^ 1]) + content[3001:])
    done = actloc(folder, "train", "toy.yaml", "run.seed=1", "--overwrite")
    assert done.returncode == 2
    assert "The features of v3 in features are damaged" in done.stderr
    done = actloc(folder, "train", "toy.yaml")
    assert done.returncode == 0
    assert "ckpt/toy is trained" in done.stdout


def test_a_finished_run_whose_last_checkpoint_is_damaged_makes_it_again(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    weights = folder / "ckpt/toy/ckpt_000008/averaged.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    done = actloc(folder, "eval", "ckpt/toy")
    assert done.returncode == 2
    assert "make it again from the one before: actloc train ckpt/toy" in done.stderr
    done = actloc(folder, "train", "ckpt/toy")
    assert done.returncode == 0, done.stderr
    assert "Resuming after step 4" in done.stderr
    assert weights.read_bytes() == whole


def test_a_report_of_two_evaluations_that_a_kill_mixed_is_refused(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    assert actloc(folder, "eval", "toy.yaml").returncode == 0
    found = folder / "found.json"
    shutil.copy(folder / "ckpt/toy/eval/test/predictions.json", found)
    of_file = ("eval", "toy.yaml", "--predictions", "found.json")
    assert actloc(folder, *of_file).returncode == 0
    found.write_text(found.read_text().replace('"score": 0.', '"score": 0.0'))
    killed = actloc(folder, *of_file, ACTLOC_FAULT="replace:2:kill")
    assert killed.returncode == -9
    done = actloc(folder, "report", "ckpt/toy")
    assert done.returncode == 2
    assert "predictions.json is not of the same evaluation as metrics.json" in done.stderr
    assert actloc(folder, *of_file).returncode == 0
    assert leftovers(folder) == []
    assert actloc(folder, "report", "ckpt/toy").returncode == 0


def test_a_report_replaces_no_file_of_a_users_folder(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    assert actloc(folder, "eval", "toy.yaml").returncode == 0
    (folder / "thesis").mkdir()
    (folder / "thesis/tables.csv").write_text("mine")
    done = actloc(folder, "report", "ckpt/toy", "--output", "thesis")
    assert done.returncode == 2
    assert "thesis/tables.csv is not as actloc wrote it" in done.stderr
    assert [path.name for path in (folder / "thesis").iterdir()] == ["tables.csv"]
    assert actloc(folder, "report", "ckpt/toy", "--output", "thesis", "--overwrite").returncode == 0
    assert actloc(folder, "report", "ckpt/toy", "--output", "thesis").returncode == 0


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"checkpoint": 3}', '{"checkpoint": "../toy"}'])
def test_a_damaged_record_of_the_end_is_written_again(trained: Path, tmp_path: Path, content: str) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    record, weights = folder / "ckpt/toy/finished.json", folder / "ckpt/toy/ckpt_000008/weights.safetensors"
    whole, before = json.loads(record.read_text()), weights.read_bytes()
    record.write_text(content)
    (folder / "ckpt/toy/environment.json").write_text("[")
    done = actloc(folder, "train", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert json.loads(record.read_text()) == whole
    assert weights.read_bytes() == before


NAMES = ["new\nline", "100%d", "-dash", "line\u2028sep", "next\x85line", "q'uo\"te", "tab\tx", "[/b]x".replace("/", "")]


def test_odd_names_of_videos_and_labels_go_all_the_way(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    shutil.rmtree(folder / "features")
    rows = (folder / "labels.csv").read_text()
    for name in NAMES:
        shutil.copy(folder / "videos/v1.mp4", folder / "videos" / f"{name}.mp4")
        quoted = name.replace('"', '""')
        rows += f'"{quoted}",0.5,1.75,"re""d\n%s\u2028",train\n'
    odd = os.fsencode(folder / "videos") + b"/\xff\xfe.mp4"
    shutil.copy(folder / "videos/v1.mp4", odd)
    (folder / "labels.csv").write_text(rows)
    settings = ("toy.yaml", "dataset.folder=pre\u2028pared", "features.path=f\x85s", "run.folder=100%")
    for command in ("prepare", "extract-features", "train", "eval", "report"):
        names = ("100%/toy",) if command == "report" else settings
        done = actloc(folder, command, *names, LC_ALL="C")
        assert done.returncode == 0, (command, done.stderr)
    assert len(list((folder / "f\x85s").glob("*.h5"))) == 6 + len(NAMES)
    assert actloc(folder, "eval", "100%/toy").returncode == 0
    given = [f"videos/{name}.mp4" for name in NAMES[:3]] + [os.fsdecode(b"videos/\xff\xfe.mp4")]
    done = actloc(folder, "predict", "100%/toy", *given, LC_ALL="C")
    assert done.returncode == 3, done.stderr
    assert json.loads((folder / "predictions/predictions.json").read_text())["results"].keys() == set(NAMES[:3])
    (failed,) = [json.loads(row) for row in (folder / "predictions/failed.jsonl").read_text().splitlines()]
    assert failed["id"] == os.fsdecode(b"\xff\xfe")


def test_failures_of_odd_names_are_listed_so_that_they_read_back(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    for name in NAMES:
        (folder / "videos" / f"{name}.mp4").write_text("no video")
    settings = ("toy.yaml", "dataset.folder=anew")
    assert actloc(folder, "prepare", *settings).returncode == 0
    assert actloc(folder, "extract-features", *settings).returncode == 3
    rows = [json.loads(row) for row in (folder / "features/failed.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(row["id"] for row in rows) == sorted(NAMES)
    assert actloc(folder, "extract-features", *settings).returncode == 3


def test_a_signal_between_epochs_changes_nothing_that_is_kept_in_the_end(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    long = ("toy.yaml", "schedule.epochs=5", "training.checkpoint_every_epochs=2")
    assert actloc(folder, "train", *long, "run.name=whole").returncode == 0
    assert actloc(folder, "train", *long, ACTLOC_FAULT="step:18:term").returncode == 143
    stopped = sorted(path.name for path in (folder / "ckpt/toy").glob("ckpt_*"))
    assert stopped == ["ckpt_000008", "ckpt_000016", "ckpt_000018"]
    assert actloc(folder, "train", *long).returncode == 0
    kept = [sorted(path.name for path in (folder / "ckpt" / run).glob("ckpt_*")) for run in ("whole", "toy")]
    assert kept[0] == kept[1] == ["ckpt_000016", "ckpt_000024"]


def test_train_names_why_features_could_not_be_made(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    shutil.rmtree(folder / "features")
    (folder / "videos/v0.mp4").write_text("no video")
    assert actloc(folder, "extract-features", "toy.yaml").returncode == 3
    done = actloc(folder, "train", "toy.yaml", "run.seed=1")
    assert done.returncode == 2
    assert "missing: v0 (unreadable: " in done.stderr
    assert "actloc extract-features toy.yaml run.seed=1" in done.stderr


@pytest.mark.parametrize("name", ["config.yaml", "environment.json"])
def test_checkpoints_without_a_part_of_their_record_are_a_run_again_by_the_command_named(
    trained: Path, tmp_path: Path, name: str
) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    (folder / "ckpt/toy" / name).unlink()
    for arguments in (("train", "toy.yaml"), ("eval", "ckpt/toy")):
        done = actloc(folder, *arguments)
        assert done.returncode == 2
        assert f"ckpt/toy has checkpoints, and no {name}." in done.stderr
    cures = {"config.yaml": "actloc show {} > {}", "environment.json": "echo '{{}}' > {}"}
    cure = actloc(folder, "train", "toy.yaml").stderr.rstrip().rpartition("again: ")[2]
    assert cure == cures[name].format(*(["toy.yaml"] if name == "config.yaml" else []), f"ckpt/toy/{name}")
    content = actloc(folder, "show", "toy.yaml").stdout if name == "config.yaml" else "{}\n"
    (folder / "ckpt/toy" / name).write_text(content)
    assert "ckpt/toy is trained" in actloc(folder, "train", "toy.yaml").stdout
    assert actloc(folder, "eval", "ckpt/toy").returncode == 0
