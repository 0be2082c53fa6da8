"""Published feature files put into a store: the same samples as in place, with their provenance and their faults."""

import hashlib
import json
import os
import random
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from actloc import experiment as experiments
from actloc.annotations import form as annotation_form
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.commands import import_features
from actloc.errors import EnvironmentProblem, Stopped, UserError
from actloc.experiment import Experiment
from actloc.settings import yaml_text
from actloc.sources.base_source import Source
from actloc.sources.folders import Config
from actloc.store import filling
from actloc.store.store import FeatureStore
from actloc.training import checkpoint
from tests.toy import CONFIG, actloc

RATES = {"a": 30.0, "b": 25.0, "c": 29.97, "d": 30.0, "e": 24.0, "f": 30.0}
DURATION_S = 12.8
FOLDERS = {"name": "folders", "path": "archive", "fps": 30.0, "clip_frames": 16, "stride_frames": 4, "max_steps": 64}


def rows_at(fps: float) -> int:
    return (round(DURATION_S * fps) - 16) // 4 + 1


def array(name: str, rows: int | None = None, channels: int = 3) -> NDArray[np.float32]:
    generator = np.random.default_rng(ord(name) + channels)
    return generator.normal(size=(rows_at(30.0) if rows is None else rows, channels)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with annotations and an archive of six .npy at 30 frames per second."""
    monkeypatch.chdir(tmp_path)
    write_annotations(dict.fromkeys(RATES, DURATION_S))
    save(dict.fromkeys(RATES, 30.0))
    return tmp_path


def write_annotations(durations: dict[str, float | None]) -> None:
    actions = (Action(1.0, 3.0, "red"), Action(4.0, 9.5, "blue"))
    videos = {
        name: AnnotatedVideo(name, "test" if name in "ef" else "train", actions, seconds, RATES.get(name))
        for name, seconds in durations.items()
    }
    annotation_form.write(Path("prepared/annotations.json"), Annotations(("blue", "red"), videos))


def save(rates: dict[str, float]) -> None:
    Path("archive").mkdir(exist_ok=True)
    for name, fps in rates.items():
        np.save(f"archive/{name}.npy", array(name, rows_at(fps)))


def experiment(block: dict[str, Any] | None = None, *overrides: str, name: str = "toy") -> Experiment:
    before, _, after = CONFIG.partition("features:")
    text = before.partition("encoder:")[0] + yaml_text.dump({"features": block or FOLDERS})
    Path(f"{name}.yaml").write_text(text + after[after.index("detector:") :])
    return experiments.load(f"{name}.yaml", list(overrides))


def digests(store: str = "store") -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(store).glob("*.h5")}


def stamps() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in [Path("store"), *Path("store").iterdir()]}


def built(features: dict[str, Any], subset: str, name: str) -> Source:
    made = experiment(features, name=name)
    return made.features.build(annotation_form.read(made.dataset.annotations_file), subset)


def assert_equal_samples(in_place: dict[str, Any], imported: dict[str, Any]) -> None:
    for subset in ("train", "test"):
        first, second = built(in_place, subset, "in_place"), built(imported, subset, "imported")
        assert [video.id for video in first.videos] == [video.id for video in second.videos]
        assert first.in_channels == second.in_channels
        for index in range(len(first.videos)):
            pairs = [(first.evaluation_sample(index), second.evaluation_sample(index))]
            pairs += [
                (first.training_sample(index, random.Random(seed)), second.training_sample(index, random.Random(seed)))
                for seed in range(3)
            ]
            for one, other in pairs:
                assert one.grid == other.grid
                assert torch.equal(one.features, other.features)
                assert torch.equal(one.targets.segments, other.targets.segments)
                assert torch.equal(one.targets.labels, other.targets.labels)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "rates of the annotations": {"fps_from": "annotations"},
    "native": {"fps": "native"},
    "resized": {"resize_to": 40, "past_end": "clip", "drop_duplicates": True, "max_steps": 40},
    "resized at native rates": {"resize_to": 40, "fps": "native", "max_steps": 40},
    "downsampled": {"downsample": 2, "crop_ratio": [0.3, 0.6]},
    "other windows": {"crop_ratio": None, "max_steps": 32, "min_kept": 0.3},
}


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_the_store_gives_every_sample_that_the_files_give(
    folder: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    has_own_rates = settings.get("fps") == "native" or "fps_from" in settings
    save(RATES if has_own_rates else dict.fromkeys(RATES, 30.0))
    in_place = {**FOLDERS, **settings}
    assert import_features.run(experiment(in_place), store=Path("store")) == 0
    (folder / "printed.yaml").write_text(capsys.readouterr().out)
    block = yaml_text.read(folder / "printed.yaml", []).data["features"]
    assert (block["name"], block["path"]) == ("stored", "store")
    assert block["fps"] == ("native" if has_own_rates else 30.0)
    assert_equal_samples(in_place, block)
    assert FeatureStore(Path("store")).verify() == []


def write_forms(folder: Path) -> list[dict[str, Any]]:
    """Every form of archive the source `folders` reads, holding the same six videos."""
    for name in ("npz", "pt", "turned", "rows", "columns", "second", "bank"):
        (folder / name).mkdir()
    with h5py.File(folder / "all.h5", "w") as file:
        for name in RATES:
            file[f"p_{name}"] = array(name)
            np.savez_compressed(folder / f"npz/v_{name}.npz", feats=array(name), other=array(name, 1))
            torch.save({"x": torch.from_numpy(array(name)).half()}, folder / f"pt/{name}_slow.pt")
            np.save(folder / f"turned/{name}.npy", array(name).T)
            np.save(folder / f"rows/{name}.npy", np.ascontiguousarray(array(name).T))
            np.save(folder / f"columns/{name}.npy", np.asfortranarray(array(name)))
            np.save(folder / f"second/{name}.npy", array(name, rows_at(30.0) - 1, 2))
            (folder / f"bank/{name}.mmap").write_bytes(array(name).tobytes())
    shapes = {name: {"num_frames": 384, "feat_shape": array(name).shape} for name in RATES}
    (folder / "bank/meta.json").write_text(json.dumps(shapes))
    return [
        {"path": "npz", "prefix": "v_", "suffix": ".npz", "key": "feats"},
        {"path": "pt", "suffix": "_slow.pt"},
        {"path": "turned", "channels_first": True},
        {"path": "rows", "channels_first": True},
        {"path": "columns"},
        {"path": "all.h5", "prefix": "p_"},
        {"path": "bank", "suffix": ".mmap"},
        {"more_paths": ["second"], "unequal_lengths": "interpolate"},
    ]


def test_every_form_of_archive_is_imported(folder: Path) -> None:
    for number, form in enumerate(write_forms(folder)):
        in_place, store = {**FOLDERS, **form}, f"store{number}"
        assert import_features.run(experiment(in_place), store=Path(store)) == 0
        stored = {name: value for name, value in FOLDERS.items() if name != "name"} | {"path": store}
        assert_equal_samples(in_place, {"name": "stored", **stored})
        assert FeatureStore(Path(store)).verify() == []


def test_a_store_says_where_its_features_come_from(folder: Path) -> None:
    save(RATES)
    (folder / "second").mkdir()
    for name, fps in RATES.items():
        np.save(folder / f"second/{name}.npy", array(name, rows_at(fps), 2))
    block = {**FOLDERS, "more_paths": ["second"], "fps_from": "annotations"}
    import_features.run(experiment(block), store=Path("store"), recipe=" I3D, of Jane's disk ")
    store = FeatureStore(Path("store"))
    info = store.info("b")
    files = [folder / "archive/b.npy", folder / "second/b.npy"]
    of_each = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert info.source_sha256 == hashlib.sha256("".join(of_each).encode()).hexdigest()
    assert info.source_bytes == sum(file.stat().st_size for file in files)
    assert (info.encoder, info.reader, info.fps, info.duration_s) == ("I3D, of Jane's disk", "folders", 25.0, 12.8)
    assert (info.clip_frames, info.stride_frames, info.align, info.offset_frames) == (16, 4, "valid", 8.0)
    assert (info.steps, info.channels, info.frame_count) == (rows_at(25.0), 5, 320)
    assert json.loads(info.recipe) == store.recipe()
    assert store.recipe() == {
        "imported_from": {
            "recipe": "I3D, of Jane's disk",
            "folders": ["archive", "second"],
            "prefix": "",
            "suffix": ".npy",
            "key": None,
            "channels_first": False,
            "channels": None,
            "unequal_lengths": "refuse",
        },
        "features": {
            "fps": 30.0,
            "decode_fps": None,
            "fps_from": "annotations",
            "clip_frames": 16,
            "frame_interval": 1,
            "stride_frames": 4,
            "align": "valid",
            "dtype": "float32",
        },
    }


def test_a_store_older_than_a_setting_is_continued_with_its_default(folder: Path) -> None:
    import_features.run(experiment(), store=Path("store"))
    recipe = json.loads(Path("store/store.json").read_text())
    del recipe["recipe"]["imported_from"]["channels"]
    Path("store/store.json").write_text(json.dumps(recipe))
    assert import_features.run(experiment(), store=Path("store")) == 0
    with pytest.raises(UserError, match="made with other settings"):
        import_features.run(experiment(None, "features.channels=[0, 1]"), store=Path("store"))


def test_the_recipe_is_named_after_the_config_and_one_file_has_its_own_digest(folder: Path) -> None:
    import_features.run(experiment(name="thumos"), store=Path("store"))
    info = FeatureStore(Path("store")).info("a")
    assert info.encoder == "thumos"
    assert info.source_sha256 == hashlib.sha256(Path("archive/a.npy").read_bytes()).hexdigest()


def break_four(folder: Path) -> None:
    write_annotations({**dict.fromkeys("abcdef", DURATION_S), **dict.fromkeys("ghijkl", DURATION_S)})
    for name in "ghijkl":
        np.save(folder / f"archive/{name}.npy", array(name))
    (folder / "archive/a.npy").unlink()
    (folder / "archive/b.npy").write_bytes(b"\x93NUMPY, or not")
    np.save(folder / "archive/c.npy", np.where(array("c") > 2, np.nan, array("c")))
    np.save(folder / "archive/d.npy", array("d", 40))
    np.save(folder / "archive/e.npy", array("e", None, 4))
    np.save(folder / "archive/f.npy", array("f", 200))


def test_bad_videos_are_named_and_only_they_are_tried_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_four(folder)
    assert import_features.run(experiment(), store=Path("store"), recipe="i3d") == 3
    store = FeatureStore(folder / "store")
    rows = {row["id"]: row for row in store.failed()}
    assert {name: row["reason"] for name, row in rows.items()} == {
        "a": "not_a_file",
        "b": "unreadable",
        "c": "non_finite",
        "d": "truncated",
        "e": "unsupported",
        "f": "unsupported",
    }
    assert "its number of rows does not match its duration of 12.8 s. The likely cause" in rows["d"]["detail"]
    assert rows["d"]["found"] == "40 rows"
    assert rows["a"]["path"] == "archive/a.npy"
    assert all(set(row) == {"id", "path", "reason", "detail", "expected", "found"} for row in rows.values())
    assert store.ids() == list("ghijkl")
    printed = capsys.readouterr().err
    assert "6 of 12 videos failed, 6 succeeded" in printed
    assert "actloc import-features toy.yaml store --recipe i3d" in printed
    before = {path: stamp for path, stamp in stamps().items() if path.suffix == ".h5"}
    save(dict.fromkeys("abcdef", 30.0))
    assert import_features.run(experiment(), store=Path("store"), recipe="i3d") == 0
    assert not (folder / "store/failed.jsonl").exists()
    assert before.items() <= stamps().items()
    assert FeatureStore(folder / "store").ids() == list("abcdefghijkl")


def test_a_few_misfits_are_let_through_where_the_settings_say_so_and_the_store_lets_them_too(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("archive/b.npy", array("b", 40))
    block = {**FOLDERS, "allow_misfits": True}
    assert import_features.run(experiment(block), store=Path("store")) == 0
    captured = capsys.readouterr()
    assert "b has 40 rows, not 93" in captured.err
    (folder / "printed.yaml").write_text(captured.out)
    printed = yaml_text.read(folder / "printed.yaml", []).data["features"]
    assert printed["allow_misfits"]
    assert_equal_samples(block, printed)
    assert "b has 40 steps" in capsys.readouterr().err
    with pytest.raises(UserError, match="b has 40 steps"):
        built({**printed, "allow_misfits": False}, "train", "strict")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fps": 15.0}, r"features\.fps=30\.0 would fit all 6 videos"),
        ({"fps": 15.0, "allow_misfits": True}, r"features\.fps=30\.0 would fit all 6 videos"),
        ({"path": "nowhere"}, r"none of 6 videos: nowhere/a\.npy is missing"),
        ({"prefix": "v_"}, r"Check features\.path, features\.prefix and features\.suffix"),
        (
            {"path": "npz", "prefix": "v_", "suffix": ".npz"},
            r"features\.key is null, but the file contains feats, other",
        ),
    ],
)
def test_where_most_do_not_fit_nothing_is_written_and_the_cause_is_reported(
    folder: Path, settings: dict[str, Any], message: str
) -> None:
    write_forms(folder)
    with pytest.raises(UserError, match=message):
        import_features.run(experiment({**FOLDERS, **settings}), store=Path("store"))
    assert not Path("store").exists()


def test_channels_in_place_of_steps_are_reported_without_durations(folder: Path) -> None:
    write_annotations(dict.fromkeys(RATES))
    for number, name in enumerate(RATES):
        np.save(f"archive/{name}.npy", array(name, 80 + number).T)
    with pytest.raises(UserError, match="6 different numbers of channels") as caught:
        import_features.run(experiment(), store=Path("store"))
    assert "features.channels_first" in caught.value.fix


def test_rates_that_nobody_states_are_reported(folder: Path) -> None:
    write_annotations({**dict.fromkeys(RATES, DURATION_S), "z": DURATION_S})
    np.save("archive/z.npy", array("z"))
    with pytest.raises(UserError, match="z has no frame rate in the annotations"):
        import_features.run(experiment({**FOLDERS, "fps": "native"}), store=Path("store"))


def test_a_complete_store_is_not_touched_and_may_outlive_its_files(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_features.run(experiment(), store=Path("store"))
    before = stamps()
    capsys.readouterr()
    assert import_features.run(experiment(), store=Path("store")) == 0
    assert "# store is already complete" in capsys.readouterr().out
    for path in Path("archive").iterdir():
        path.unlink()
    assert import_features.run(experiment(), store=Path("store")) == 0
    assert stamps() == before


def test_a_changed_file_is_done_again_even_where_it_is_as_long_and_older(folder: Path) -> None:
    import_features.run(experiment(), store=Path("store"))
    before = digests()
    np.save("archive/b.npy", array("b") + 1)
    os.utime("archive/b.npy", (1e9, 1e9))  # as unpacking an archive leaves it
    os.utime("archive/c.npy")
    assert import_features.run(experiment(), store=Path("store")) == 0
    assert {name for name, digest in digests().items() if before[name] != digest} == {"b.h5"}
    assert np.array_equal(FeatureStore(Path("store")).read("b"), array("b") + 1)


def test_other_settings_or_files_of_another_recipe_are_refused_unless_replaced(folder: Path) -> None:
    import_features.run(experiment(), store=Path("store"))
    before = stamps()
    with pytest.raises(UserError) as caught:
        import_features.run(experiment({**FOLDERS, "align": "backpad"}), store=Path("store"), recipe="tsp")
    assert caught.value.found.splitlines()[1:] == [
        "  features.align: valid in the store, backpad in the settings",
        "  imported_from.recipe: toy in the store, tsp in the settings",
    ]
    assert "actloc import-features CONFIG store [SETTINGS] --overwrite" in caught.value.fix
    assert stamps() == before
    half = experiment({**FOLDERS, "dtype": "float16"})
    assert import_features.run(half, store=Path("store"), recipe="tsp", overwrite=True) == 0
    store = FeatureStore(Path("store"))
    assert np.array_equal(store.read("a"), array("a").astype(np.float16).astype(np.float32))
    assert store.verify() == []


def test_an_archive_that_does_not_fit_costs_no_store_that_is_there(folder: Path) -> None:
    import_features.run(experiment(), store=Path("store"))
    before = digests()
    with pytest.raises(UserError, match="likely cause"):
        import_features.run(experiment({**FOLDERS, "fps": 15.0}), store=Path("store"), overwrite=True)
    assert digests() == before


def test_what_cannot_be_imported_is_refused(folder: Path) -> None:
    def refused(message: str, block: dict[str, Any] | None = None, store: str = "store", **more: Any) -> None:
        with pytest.raises(UserError, match=message):
            import_features.run(experiment(block), store=Path(store), **more)

    refused("features.name is stored", {**FOLDERS, "name": "stored"})
    refused("features.is_resized is true", {**FOLDERS, "is_resized": True})
    refused("is where the features are read from", store="archive")
    for name in ("", " \t", "two\nlines", "\x1b[31m", "x" * 201):
        refused("The recipe's name is", recipe=name)
    Path("others").mkdir()
    Path("others/mine.h5").write_bytes(b"precious")
    refused("is not a feature store", store="others", overwrite=True)
    assert Path("others/mine.h5").read_bytes() == b"precious"
    assert not Path("store").exists()


def test_a_disk_too_small_is_reported_before_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "disk_usage", lambda _: SimpleNamespace(free=6 * rows_at(30.0) * 3 * 4 - 1))
    with pytest.raises(EnvironmentProblem, match=r"7 kB free"):
        import_features.run(experiment(), store=Path("store"))
    assert not digests()
    assert import_features.run(experiment({**FOLDERS, "dtype": "float16"}), store=Path("store2")) == 0


@pytest.mark.parametrize("fault", ["replace:4:kill", "write:4:ENOSPC", "fsync:5:kill"])
def test_whatever_stops_an_import_a_rerun_gives_what_an_undisturbed_one_gives(folder: Path, fault: str) -> None:
    experiment()
    assert actloc(folder, "import-features", "toy.yaml", "reference").returncode == 0
    first = actloc(folder, "import-features", "toy.yaml", "store", ACTLOC_FAULT=fault)
    assert first.returncode != 0
    assert 0 < len(digests()) < len(RATES)
    assert digests().items() <= digests("reference").items()
    again = actloc(folder, "import-features", "toy.yaml", "store", "--json")
    assert again.returncode == 0, again.stderr
    assert digests() == digests("reference")
    assert not list(folder.rglob("*.part"))
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert {event["event"] for event in events} == {"video_done", "done"}
    assert events[-1]["features"]["name"] == "stored"


def test_a_signal_stops_between_videos(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Config.read

    def signalled(self: Config, video: AnnotatedVideo) -> torch.Tensor:
        if video.id == "c":
            os.kill(os.getpid(), signal.SIGTERM)
        return read(self, video)

    monkeypatch.setattr(Config, "read", signalled)
    with pytest.raises(Stopped):
        import_features.run(experiment(), store=Path("store"))
    assert FeatureStore(Path("store")).ids() == ["a", "b", "c"]
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert import_features.run(experiment(), store=Path("store")) == 0


def test_a_run_on_the_store_ends_in_the_weights_of_a_run_on_the_files(folder: Path) -> None:
    experiment({**FOLDERS, "fps_from": "annotations"})
    save(RATES)
    done = actloc(folder, "import-features", "toy.yaml", "store")
    assert done.returncode == 0, done.stderr
    experiment(yaml_text.read(_written(folder / "printed.yaml", done.stdout), []).data["features"], name="imported")
    weights = []
    for name in ("toy", "imported"):
        trained = actloc(folder, "train", f"{name}.yaml")
        assert trained.returncode == 0, trained.stderr
        weights.append(checkpoint.load(checkpoint.last(folder / "ckpt" / name)).weights)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
