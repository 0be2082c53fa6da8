import io
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actloc.errors import UserError, VideoError
from actloc.settings.choices import Dtype
from actloc.store import info
from actloc.store import store as module
from actloc.store.info import FeatureInfo, grid
from actloc.store.sealed_file import BLOCK_BYTES, fingerprint, user_block
from actloc.store.store import FeatureStore

RECIPE = {"encoder": {"name": "color", "short_side": 64}, "features": {"fps": 30.0}}
INFO = FeatureInfo(
    video_id="v",
    encoder="color",
    weights_sha256=None,
    recipe='{"encoder": {"name": "color", "short_side": 64}, "features": {"fps": 30.0}}',
    fps=30.0,
    clip_frames=16,
    stride_frames=4,
    align="valid",
    offset_frames=8.0,
    frame_count=96,
    duration_s=3.2,
    reader="pyav",
    source_bytes=1234,
    source_sha256="",
    code_version="0",
)


def features(steps: int = 21, channels: int = 6) -> info.Features:
    return np.random.default_rng(0).standard_normal((steps, channels)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """A store with the features of v."""
    store = FeatureStore(tmp_path / "store")
    store.begin(RECIPE)
    store.write("v", features(), INFO)
    return store


def sealed(content: bytes) -> bytes:
    """A feature file with these bytes after its user block."""
    return user_block(io.BytesIO(content)) + content[BLOCK_BYTES:]


def flip(path: Path, position: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_features_and_facts_are_read_as_they_were_written(store: FeatureStore) -> None:
    again = FeatureStore(store.folder)
    assert np.array_equal(again.read("v"), features())
    assert again.info("v") == replace(INFO, steps=21, channels=6)
    assert again.ids() == ["v"]
    assert again.has("v")
    assert not again.has("w")
    assert again.verify() == []


def test_the_file_is_plain_hdf5_with_checksums(store: FeatureStore) -> None:
    with h5py.File(store.folder / "v.h5") as file:
        assert np.array_equal(file["features"][()], features())
        assert file["features"].fletcher32
        assert file["features"].chunks[0] <= 256
        assert file.attrs["fps"] == 30.0
        assert len(file.attrs["sha256"]) == 64


def test_the_same_features_give_the_same_bytes(store: FeatureStore, tmp_path: Path) -> None:
    other = FeatureStore(tmp_path / "other")
    other.write("v", features(), INFO)
    assert (store.folder / "v.h5").read_bytes() == (other.folder / "v.h5").read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    video_id=st.text(min_size=1, max_size=300).filter(lambda text: "\0" not in text and text.isprintable()),
    array=arrays(
        np.float32, st.tuples(st.integers(1, 600), st.integers(1, 5)), elements=st.floats(-1e4, 1e4, width=32)
    ),
    dtype=st.sampled_from(["float32", "float16"]),
)
def test_any_id_and_any_features_are_read_as_they_were_written(
    tmp_path: Path, video_id: str, array: info.Features, dtype: Dtype
) -> None:
    store = FeatureStore(tmp_path / "any")
    store.write(video_id, array, replace(INFO, video_id=video_id), dtype)
    assert np.array_equal(store.read(video_id), array.astype(dtype).astype(np.float32))
    assert video_id in store.ids()
    assert all(path.parent == tmp_path / "any" for path in (tmp_path / "any").rglob("*"))


def test_read_and_verify_detect_any_flipped_bit(store: FeatureStore) -> None:
    path = store.folder / "v.h5"
    good = path.read_bytes()
    for position in range(0, len(good), 37):  # headers, padding, attributes, values, free space
        flip(path, position, position % 8)
        with pytest.raises(UserError, match=r"features of v in .* are damaged"):
            FeatureStore(store.folder).read("v")
        path.write_bytes(good)
    flip(path, 5000)
    problems = store.verify()
    assert len(problems) == 1
    assert problems[0].startswith("v.h5: ")


def test_a_store_made_before_files_had_a_crc32_is_read_and_verified(tmp_path: Path) -> None:
    """Recorded with the code of commit 4a798b9: v float32, w float16 in two chunks."""
    old = FeatureStore(Path("tests/golden/store_before_crc32"))
    assert old.ids() == ["v", "w"]
    assert np.array_equal(old.read("v"), features())
    assert np.array_equal(old.read("w"), features(300, 2).astype(np.float16).astype(np.float32))
    assert old.info("v") == replace(INFO, steps=21, channels=6)
    assert old.verify() == []
    copy = tmp_path / "v.h5"
    good = (old.folder / "v.h5").read_bytes()
    for position in range(0, len(good), 37):
        copy.write_bytes(good)
        flip(copy, position, position % 8)
        with pytest.raises(UserError, match="are damaged"):
            FeatureStore(tmp_path).read("v")


def test_verify_checks_more_than_reading_does(store: FeatureStore) -> None:
    path = store.folder / "v.h5"
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        content[file["features"].id.get_chunk_info(0).byte_offset + 9] ^= 1
    body = memoryview(content)[512:]
    head = bytes(content[:88])
    content[88:103] = f"crc32 {zlib.crc32(body, zlib.crc32(head)):08x}\n".encode()
    path.write_bytes(content)
    store.read("v")  # forged: the CRC-32 fits the wrong values
    assert store.verify() == ["v.h5: its bytes do not match its checksum"]
    path.write_bytes(sealed(bytes(content)))
    assert store.verify()[0].startswith("v.h5: it is not a feature file")  # HDF5's own checksum


def test_the_largest_numbers_are_read_although_their_sum_is_infinite(store: FeatureStore) -> None:
    largest = np.full((300, 6), np.finfo(np.float32).max)
    store.write("v", largest, INFO)
    assert np.array_equal(store.read("v"), largest)


@pytest.mark.parametrize("settings", [{"compression": "gzip"}, {"chunks": (21, 3)}, {"fletcher32": False}])
def test_features_in_another_layout_are_refused(store: FeatureStore, settings: dict[str, object]) -> None:
    content = io.BytesIO((store.folder / "v.h5").read_bytes())
    with h5py.File(content, "r+") as file:
        del file["features"]
        file.create_dataset("features", data=features(), **{"chunks": (21, 6), "fletcher32": True, **settings})
    (store.folder / "v.h5").write_bytes(sealed(content.getvalue()))
    with pytest.raises(UserError, match="not laid out as actloc writes them"):
        store.read("v")


def test_files_that_are_not_a_stores_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.h5").write_bytes(b"precious")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="is not a feature store"):
            FeatureStore(tmp_path).begin(RECIPE, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.h5"]


def test_the_error_for_a_damaged_file_names_the_store_the_video_and_the_fix(store: FeatureStore) -> None:
    (store.folder / "v.h5").write_bytes((store.folder / "v.h5").read_bytes()[:-1])
    with pytest.raises(UserError) as caught:
        store.info("v")
    assert str(store.folder) in caught.value.found
    assert " v " in caught.value.found
    assert caught.value.fix == (
        f"Find all damaged files: actloc verify {store.folder}; delete them and run: "
        "actloc extract-features CONFIG [SETTINGS]"
    )


def test_reading_a_video_without_features_is_a_user_error(store: FeatureStore) -> None:
    with pytest.raises(UserError, match="has no features of w") as caught:
        store.read("w")
    assert caught.value.expected == "The store has features of 1 video."


def test_a_file_under_the_name_of_another_video_is_refused(store: FeatureStore) -> None:
    (store.folder / "v.h5").rename(store.folder / "w.h5")
    with pytest.raises(UserError, match="are those of v"):
        store.read("w")
    assert store.verify() == ["w.h5: contains the features of 'v'"]


@pytest.mark.parametrize(
    ("value", "dtype", "reason"),
    [
        (np.nan, "float32", "non_finite"),
        (-np.inf, "float16", "non_finite"),
        (70000.0, "float16", "out_of_range"),
        (-1e30, "float16", "out_of_range"),
    ],
)
def test_numbers_that_would_be_lost_are_refused(tmp_path: Path, value: float, dtype: Dtype, reason: str) -> None:
    bad = features()
    bad[3, 2] = value
    store = FeatureStore(tmp_path)
    with pytest.raises(VideoError) as caught:
        store.write("v", bad, INFO, dtype)
    assert caught.value.reason == reason
    assert not store.has("v")


def test_features_that_are_not_finite_are_not_read(store: FeatureStore) -> None:
    bad, info = features(), replace(INFO, steps=21, channels=6)
    bad[3, 2] = np.inf
    content = io.BytesIO((store.folder / "v.h5").read_bytes())
    with h5py.File(content, "r+") as file:
        file["features"][...] = bad
        file.attrs["sha256"] = fingerprint(bad, info)
    (store.folder / "v.h5").write_bytes(sealed(content.getvalue()))
    with pytest.raises(UserError, match="not finite"):
        store.read("v")
    assert store.verify() == ["v.h5: contains values that are not finite"]


def test_a_store_has_features_of_one_recipe(store: FeatureStore) -> None:
    store.begin(RECIPE)
    other = {"encoder": {"name": "color", "short_side": 32}, "features": {"fps": 25.0, "align": "valid"}}
    with pytest.raises(UserError) as caught:
        store.begin(other)
    assert caught.value.found.splitlines()[1:] == [
        "  encoder.short_side: 64 in the store, 32 in the settings",
        "  features.align: absent in the store, valid in the settings",
        "  features.fps: 30.0 in the store, 25.0 in the settings",
    ]
    assert store.ids() == ["v"]
    store.begin(other, overwrite=True)
    assert store.ids() == []
    assert store.recipe() == module.complete(other)


@pytest.mark.parametrize("name", ["r2plus1d", "slowfast"])
def test_features_made_before_encoders_had_other_outputs_are_features(name: str, tmp_path: Path) -> None:
    old = {"encoder": {"name": name, "precision": "float32"}, "features": {"fps": 30.0}}
    store = FeatureStore(tmp_path)
    store.begin(old)
    store.check_recipe({**old, "encoder": {**old["encoder"], "output": "features"}})
    with pytest.raises(UserError, match=r"encoder\.output: features in the store, scores in the settings"):
        store.check_recipe({**old, "encoder": {**old["encoder"], "output": "scores"}})
    other = {**old, "encoder": {**old["encoder"], "name": "i3d"}}
    assert "output" not in module.complete(other)["encoder"]


def test_failures_are_listed_until_there_are_none(store: FeatureStore) -> None:
    assert store.failed() == []
    store.write_failed([])
    assert not (store.folder / "failed.jsonl").exists()
    row = {"id": "ü", "path": "a.mp4", "reason": "truncated", "detail": "d", "expected": "e", "found": "f"}
    store.write_failed([row])
    assert store.failed() == [row]
    store.write_failed([])
    assert not (store.folder / "failed.jsonl").exists()


def test_reading_a_store_that_does_not_exist_creates_nothing(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "absent")
    assert (store.ids(), store.recipe(), store.failed(), store.verify()) == ([], None, [], [])
    assert not (tmp_path / "absent").exists()


def test_the_grid_puts_row_zero_at_its_clips_centre() -> None:
    import torch

    assert grid(INFO).seconds(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([8 / 30, 12 / 30])


def hostile(kind: str, secret: Path, good: Path) -> bytes:
    """A file with a valid seal whose features are in another file."""
    content = io.BytesIO(good.read_bytes())
    with h5py.File(content, "r+") as file:
        del file["features"]
        if kind == "external link":
            file["features"] = h5py.ExternalLink(str(secret), "/features")
        elif kind == "soft link":
            file["other"] = features()
            file["features"] = h5py.SoftLink("/other")
        elif kind == "external storage":
            file.create_dataset("features", (21, 6), "f4", external=[(str(secret), 0, 21 * 6 * 4)])
        else:
            spacing = h5py.VirtualLayout((21, 6), "f4")
            spacing[:] = h5py.VirtualSource(str(secret), "features", (21, 6))
            file.create_virtual_dataset("features", spacing)
    return sealed(content.getvalue())


@pytest.mark.parametrize("kind", ["external link", "soft link", "external storage", "virtual dataset"])
def test_features_stored_elsewhere_are_not_read(store: FeatureStore, tmp_path: Path, kind: str) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["features"] = features()
    (store.folder / "v.h5").write_bytes(hostile(kind, tmp_path / "secret.h5", store.folder / "v.h5"))
    with pytest.raises(UserError, match="elsewhere"):
        store.read("v")


def test_a_recipe_older_than_a_setting_has_its_default(tmp_path: Path) -> None:
    old = {"encoder": {"name": "color", "short_side": 64}, "features": {"fps": 30.0}}
    new = {
        "encoder": {**old["encoder"], "precision": "float32", "channels_last": False},
        "features": {**old["features"], "decode_fps": None, "frame_interval": 1},
    }
    store = FeatureStore(tmp_path)
    store.begin(old)
    store.write("old", features(), replace(INFO, video_id="old", recipe=json.dumps(old)))
    FeatureStore(tmp_path).begin(new)
    store.write("new", features(), replace(INFO, video_id="new", recipe=json.dumps(new)))
    assert store.verify() == []
    with pytest.raises(UserError, match=r"encoder\.precision: float32 in the store, bfloat16"):
        store.check_recipe({**new, "encoder": {**new["encoder"], "precision": "bfloat16"}})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', '{"recipe": []}', '{"recipe": {"encoder": 3}}'])
def test_a_damaged_store_json_is_made_again_from_what_feature_files_record(
    store: FeatureStore, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store.folder / "store.json"
    whole = store.recipe()
    path.write_text(content)
    assert FeatureStore(store.folder).recipe() == whole
    assert f"{path} is damaged" in capsys.readouterr().err
    assert path.read_text() == content  # reading changes nothing
    FeatureStore(store.folder).begin(RECIPE)
    assert json.loads(path.read_text())["recipe"] == RECIPE
    assert store.verify() == []


def test_overwriting_sets_aside_what_actloc_wrote_and_nothing_else(store: FeatureStore) -> None:
    with h5py.File(store.folder / "mine.h5", "w") as file:
        file["x"] = 1
    (store.folder / "notes.txt").write_text("mine")
    (store.folder / "torn.h5").write_bytes(bytes(100))
    store.write_failed([{"id": "w"}])
    store.begin({"encoder": {"name": "color", "short_side": 32}, "features": {"fps": 30.0}}, overwrite=True)
    assert sorted(path.name for path in store.folder.iterdir() if path.name[0] != ".") == [
        "mine.h5",
        "notes.txt",
        "store.json",
        "torn.h5.replaced",
        "v.h5.replaced",
    ]


@pytest.mark.parametrize("what", ["EACCES", "EIO", "EMFILE"])
def test_features_that_cannot_be_read_now_are_not_called_damaged(
    store: FeatureStore, set_fault: Callable[[str], None], what: str
) -> None:
    for read in (store.recipe, lambda: store.info("v"), lambda: store.read("v"), store.verify):
        set_fault(f"read:1:{what}")
        with pytest.raises(OSError):  # noqa: PT011 - the fault that was set
            read()


def test_failures_are_read_from_a_damaged_list_as_far_as_they_can_be(store: FeatureStore) -> None:
    store.failed_file().write_text('{"id": "w", "reason": "empty"}\nnonsense\n{"reason": "empty"}\n')
    assert [row["id"] for row in store.failed()] == ["w"]
