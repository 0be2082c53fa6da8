"""A run whose memory bank starts from imported features, as TALLFormer publishes them."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch

from actloc.store.store import FeatureStore
from tests.end_to_end.test_bank_run import BANK, TRAIN, files_of
from tests.toy import TEST_VIDEOS, actloc, copy_toy

SWIN = BANK.replace(
    "  encoder: {name: efficientnet_lite0, short_side: 32, crop: 32, rate_factor: 0.01}\n",
    "  encoder:\n    name: video_swin\n    size: {dim: 12, depths: [1, 1, 1, 1], heads: [1, 2, 2, 4]}\n"
    "    side: 32\n    crop: 32\n    rate_factor: 0.01\n",
).replace("  clip_frames: 2\n  stride_frames: 2\n", "  clip_frames: 8\n  stride_frames: 8\n  align: padded\n")
ROWS = 16
"""Of a video of 4 s at 8 frames per second: a clip of 8 frames gives 4."""
THEIRS = """\
dataset: {name: custom, folder: prepared, videos: videos, annotations: labels.csv}
features: {name: folders, path: theirs, suffix: .mmap, fps: 8, clip_frames: 2, stride_frames: 2, align: padded}
"""
IMPORT = ("import-features", "theirs.yaml", "imported", "--recipe", "TALLFormer's bank")
AGAIN = f"actloc import-features IMPORT_CONFIG imported --recipe {shlex.quote(IMPORT[-1])}"
FROM_IMPORTED = (*TRAIN, "features.bank=imported")


@pytest.fixture(scope="module")
def imported(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy with features of the encoder as it starts in `stored`, and imported from TALLFormer's form."""
    folder = copy_toy(toy, tmp_path_factory.mktemp("imported") / "toy")
    (folder / "toy.yaml").write_text(SWIN)
    (folder / "theirs.yaml").write_text(THEIRS)
    for command in ("prepare", "extract-features"):
        done = actloc(folder, command, "toy.yaml")
        assert done.returncode == 0, done.stderr
    stored = FeatureStore(folder / "stored")
    write_bank(folder / "theirs", {name: stored.read(name) for name in stored.ids() if name not in TEST_VIDEOS})
    done = actloc(folder, *IMPORT)
    assert done.returncode == 3, "the bank has no features of the test videos"
    assert "2 of 6 videos failed, 4 succeeded" in done.stderr
    return folder


def write_bank(folder: Path, features: dict[str, np.ndarray]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, rows in features.items():
        (folder / f"{name}.mmap").write_bytes(rows.astype("<f4").tobytes())
    meta = {name: {"num_frames": 2 * len(rows), "feat_shape": list(rows.shape)} for name, rows in features.items()}
    (folder / "meta_val.json").write_text(json.dumps(meta))


def bank_of(folder: Path) -> dict[str, np.ndarray]:
    """The rows that the last checkpoint names."""
    run = folder / "ckpt/toy"
    state = json.loads((sorted(run.glob("ckpt_*"))[-1] / "state.json").read_text())
    generations = state["learner"]["bank"]["generations"]
    return {name: FeatureStore(run / f"bank/{number:06d}").read(name) for name, number in generations.items()}


def test_it_learns_what_it_learns_from_its_own_features_after_a_kill_too(imported: Path, tmp_path: Path) -> None:
    own, theirs = copy_toy(imported, tmp_path / "own"), copy_toy(imported, tmp_path / "theirs")
    assert actloc(theirs, "verify", "imported").returncode == 0
    before = files_of(theirs / "imported")
    done = actloc(own, *TRAIN)
    assert done.returncode == 0, done.stderr
    assert "imported" not in done.stderr
    done = actloc(theirs, *FROM_IMPORTED, ACTLOC_FAULT="step:3:kill")
    assert "starts from imported features (TALLFormer's bank). Which weights made them is not recorded" in done.stderr
    done = actloc(theirs, *FROM_IMPORTED)
    assert done.returncode == 0, done.stderr
    assert "Resuming after step 2" in done.stderr
    for name in ("weights.safetensors", "state.safetensors"):
        one, other = (
            safetensors.torch.load_file(sorted((folder / "ckpt/toy").glob("ckpt_*"))[-1] / name)
            for folder in (own, theirs)
        )
        assert one.keys() == other.keys()
        assert all(one[key].equal(other[key]) for key in one)
    rows, same = bank_of(theirs), bank_of(own)
    assert rows.keys() == same.keys()
    for name in rows:
        np.testing.assert_array_equal(rows[name], same[name])
        assert len(rows[name]) == ROWS
    generations = sorted((theirs / "ckpt/toy/bank").iterdir())
    assert len(generations) > 1
    for generation in generations:
        assert actloc(theirs, "verify", str(generation.relative_to(theirs))).returncode == 0
        assert FeatureStore(generation).recipe() == FeatureStore(theirs / "imported").recipe()
    assert files_of(theirs / "imported") == before
    for command in ("eval", "report"):
        done = actloc(theirs, command, "ckpt/toy")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("rows", "channels", "settings", "found"),
    [
        (ROWS, 95, (), f"v0 has {ROWS} x 95, not {ROWS} x 96"),
        (ROWS - 3, 96, (), f"v0 has {ROWS - 3} x 96, not {ROWS} x 96"),
        (ROWS - 2, 96, (), ""),
        (ROWS + 1, 96, ("features.tolerance_steps=0",), f"v0 has {ROWS + 1} x 96, not {ROWS} x 96"),
        (ROWS, 96, ("features.dtype=float16",), "imported as float32; features.dtype is float16"),
        (ROWS, 96, ("features.fps=30",), f"v0 has {ROWS} x 96, not 60 x 96"),
    ],
)
def test_features_that_cannot_be_the_encoders_are_refused(
    imported: Path, tmp_path: Path, rows: int, channels: int, settings: tuple[str, ...], found: str
) -> None:
    folder = copy_toy(imported, tmp_path / "toy")
    stored = FeatureStore(folder / "stored")
    features = {name: np.resize(stored.read(name), (rows, channels)) for name in ("v0", "v1", "v3", "v4")}
    write_bank(folder / "theirs", features)
    done = actloc(folder, *IMPORT, "--overwrite", "features.tolerance_steps=3")
    assert done.returncode == 3, done.stderr
    done = actloc(folder, *FROM_IMPORTED, *settings, "--dry-run")
    if not found:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 2
    said = done.stderr + done.stdout
    assert found in said
    assert f"{AGAIN} --overwrite" in said
    assert "Traceback" not in said


def test_a_video_that_was_not_imported_is_named_with_the_command_that_imports_it(
    imported: Path, tmp_path: Path
) -> None:
    folder = copy_toy(imported, tmp_path / "toy")
    FeatureStore(folder / "imported").delete("v0")
    refused = actloc(folder, *FROM_IMPORTED)
    assert refused.returncode == 2
    assert "imported has features of 3 of 4 training videos; missing: v0" in refused.stderr
    assert f"Run: {AGAIN}; or leave these videos out: features.allow_missing=true" in refused.stderr
    assert actloc(folder, *FROM_IMPORTED, "features.allow_missing=true").returncode == 0
    assert sorted(bank_of(folder)) == ["v1", "v3", "v4"]


def test_a_bank_whose_shapes_are_unknown_is_not_imported(imported: Path, tmp_path: Path) -> None:
    folder = copy_toy(imported, tmp_path / "toy")
    meta = folder / "theirs/meta_val.json"
    known = json.loads(meta.read_text())
    meta.write_text(json.dumps({name: shape for name, shape in known.items() if name != "v0"}))
    shutil.rmtree(folder / "imported")
    done = actloc(folder, *IMPORT)
    assert done.returncode == 3
    failed = {row["id"]: row for row in FeatureStore(folder / "imported").failed()}
    assert sorted(failed) == ["v0", *TEST_VIDEOS]
    assert "theirs/meta_val.json has no shape for v0.mmap; it has 3 videos" in failed["v0"]["detail"]
    meta.unlink()
    shutil.rmtree(folder / "imported")
    refused = actloc(folder, *IMPORT)
    assert refused.returncode == 2
    assert "theirs has .mmap files and has no JSON file of their shapes" in refused.stderr
    assert "Of 4 videos, 3 more cannot be used either" in refused.stderr
    assert not (folder / "imported").exists()
