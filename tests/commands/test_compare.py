import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from actloc.encoders.r2plus1d.network import global_feature
from actloc.errors import UserError
from actloc.store.comparing import compare, correlations
from actloc.store.foreign_files import FeatureFile
from actloc.store.info import FeatureInfo
from actloc.store.store import FeatureStore
from tests.toy import actloc

GRID = {"fps": 30.0, "clip_frames": 16, "stride_frames": 4, "align": "valid"}
INFO = FeatureInfo(
    *("v", "color", None, json.dumps({"features": {"frame_interval": 2}}), 30.0, 16, 4, "valid", 8.0, 400, 13.3),
    *("pyav", 1, "0" * 64, "0"),
)
TIMES = (np.arange(97) * 4 + 8) / 30


def signal(times: np.ndarray) -> np.ndarray:
    """Three smooth dimensions of a video (T, 3) and one that never changes."""
    waves = [np.sin(times * 3), np.cos(times * 2), np.sin(times * 5 + 1), np.zeros_like(times)]
    return np.stack(waves, axis=1).astype(np.float32)


def store(folder: Path, values: np.ndarray, recipe: dict[str, object] | None = None, **info: object) -> FeatureStore:
    made = FeatureStore(folder)
    made.begin(recipe or {"features": GRID})
    made.write("v", values, replace(INFO, **info))  # type: ignore[arg-type]
    return made


def test_equal_features_correlate_fully_without_a_shift(tmp_path: Path) -> None:
    found = compare(store(tmp_path / "a", signal(TIMES)), store(tmp_path / "b", signal(TIMES)), ["v"], 1.0)
    assert found.videos[0].best_shift_s == 0.0
    assert found.videos[0].correlation == pytest.approx(1.0)
    np.testing.assert_allclose(found.dimensions[:3], 1.0)
    assert np.isnan(found.dimensions[3])
    assert found.largest_difference == 0.0


@pytest.mark.parametrize(("later_s", "stride"), [(8 / 15, 4), (-4 / 15, 4), (0.4, 3)])
def test_the_shift_between_two_grids_is_found(tmp_path: Path, later_s: float, stride: int) -> None:
    times = (np.arange(390 // stride) * stride + 8) / 30
    late = store(tmp_path / "b", signal(times - later_s), stride_frames=stride)
    found = compare(store(tmp_path / "a", signal(TIMES)), late, ["v"], 1.0).videos[0]
    assert found.best_shift_s == pytest.approx(later_s, abs=0.05)
    assert found.correlation is not None
    assert found.best_correlation is not None
    assert found.correlation < 0.7 < 0.99 < found.best_correlation


def test_correlation_is_pearsons() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 50, 4))
    expected = [np.corrcoef(a[:, place], b[:, place])[0, 1] for place in range(4)]
    np.testing.assert_allclose(correlations(a, b), expected, rtol=1e-12)


def test_correlations_over_many_videos_are_those_of_all_rows(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(size=(2, 3, 97, 4)).astype(np.float32)
    ours, theirs = 100 + noise[0], -50 + noise[0] + noise[1]
    stores = store(tmp_path / "a", ours[0]), store(tmp_path / "b", theirs[0])
    for number, video_id in ((1, "w"), (2, "x")):
        for one, values in zip(stores, (ours, theirs), strict=True):
            one.write(video_id, values[number], replace(INFO, video_id=video_id))
    found = compare(*stores, ["v", "w", "x"], 0.0)
    a, b = ours.reshape(-1, 4), theirs.reshape(-1, 4)
    expected = [np.corrcoef(a[:, place], b[:, place])[0, 1] for place in range(4)]
    np.testing.assert_allclose(found.dimensions, expected, rtol=1e-6)
    assert found.largest_difference == pytest.approx(np.abs(a - b).max())
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert found.cosine == pytest.approx(cosines.mean(), rel=1e-6)


def test_a_shift_beyond_reason_is_refused(tmp_path: Path) -> None:
    store(tmp_path / "a", signal(TIMES))
    for shift in ("inf", "nan"):
        assert actloc(tmp_path, "compare", "a", "a", "--shift", shift).returncode == 2


def test_other_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"v has 4 channels .* and 3 in"):
        compare(store(tmp_path / "a", signal(TIMES)), store(tmp_path / "b", signal(TIMES)[:, :3]), ["v"], 1.0)


def test_the_command_prints_settings_correlations_and_shift(tmp_path: Path) -> None:
    store(tmp_path / "a", signal(TIMES))
    store(tmp_path / "b", 2 * signal(TIMES), {"features": {**GRID, "align": "backpad"}})
    done = actloc(tmp_path, "compare", "a", "b", "--output", "dimensions.csv")
    assert done.returncode == 0, done.stderr
    assert "features.align: valid in a, backpad in b" in done.stdout
    assert "+0.000 s" in done.stdout
    assert "1.000000" in done.stdout
    assert (tmp_path / "dimensions.csv").read_text().splitlines()[1:] == ["0,1", "1,1", "2,1", "3,"]
    (tmp_path / "empty").mkdir()
    assert "empty is not a feature store" in actloc(tmp_path, "compare", "a", "empty").stderr
    absent = actloc(tmp_path, "compare", "a", "emty")
    assert absent.returncode == 2
    assert "emty is not a folder. Did you mean empty?" in absent.stderr


def test_runs_are_compared_by_another_command_and_exported_to_what_there_is(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "ckpt" / name).mkdir(parents=True)
        for file in ("config.yaml", "environment.json"):
            (tmp_path / "ckpt" / name / file).write_text("{}")
    done = actloc(tmp_path, "compare", "ckpt/one", "ckpt/two")
    assert done.returncode == 2
    assert "Run: actloc report ckpt/one ckpt/two" in done.stderr
    done = actloc(tmp_path, "export", "ckpt/one", "one.onnx")
    assert done.returncode == 2
    assert "actloc export-onnx ckpt/one one.onnx" in done.stderr
    done = actloc(tmp_path, "export", "ckpt/one", "one.pt")
    assert "actloc convert ckpt/one FILE.pth.tar" in done.stderr


def test_a_packed_file_holds_the_store_and_says_how_it_was_made(tmp_path: Path) -> None:
    store(tmp_path / "a", signal(TIMES))
    done = actloc(tmp_path, "export", "a", "packed.h5")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "packed.h5") as file:
        assert dict(file["v"].attrs)["fps"] == 30.0
        assert file["v"].attrs["interval"] == 2
        assert file["v"].attrs["clip_len"] == 16
        assert file["v"].attrs["tail"] == "drop"
    read = FeatureFile(tmp_path / "packed.h5", dataset="v").read()
    assert np.array_equal(read.numpy(), signal(TIMES))
    again = actloc(tmp_path, "export", "a", "packed.h5")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_a_pooled_file_holds_one_vector_of_each_video(pool: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(700, 512)).astype(np.float32)
    store(tmp_path / "a", rows)
    done = actloc(tmp_path, "export", "a", "pooled.h5", "--pool", pool)
    assert done.returncode == 0, done.stderr
    assert f"{pool} features of 1 video," in done.stdout
    with h5py.File(tmp_path / "pooled.h5") as file:
        assert file["v"].dtype == np.float32
        assert file["v"].attrs["pool"] == pool
    found = global_feature(tmp_path / "pooled.h5", "v", Path("v.mp4"))  # as TSP's region head takes it
    if pool == "max":
        assert np.array_equal(found, rows.max(0))
    else:
        np.testing.assert_allclose(found, rows.mean(0, dtype=np.float64), rtol=2**-23)


def test_a_disk_that_fills_up_while_packing_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    store(tmp_path / "a", np.random.default_rng(0).normal(size=(2000, 300)).astype(np.float32))
    limited = "import resource, runpy, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
    limited += "runpy.run_module('actloc', run_name='__main__')"
    command = [sys.executable, "-c", limited, "export", str(tmp_path / "a"), str(tmp_path / "packed.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
