"""Folders of models that are broken, or made to run code: each is refused with a sentence, and nothing in them runs."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from actloc.encoders.huggingface import Config
from actloc.errors import UserError
from tests.encoders import tiny_models

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PROCESSOR = "preprocessor_config.json"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for kind in ("dinov3", "videomae_classifier", "vivit"):
        tiny_models.write(folder / kind, kind)
    return folder


def edit(folder: Path, name: str = "config.json", /, **values: Any) -> None:
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def divided(*place: object) -> Callable[[Path], None]:
    """Weights that an index says to be at a place, where they are."""

    def divide(folder: Path) -> None:
        for name in (each for each in place if isinstance(each, str)):
            shutil.copy(folder / WEIGHTS, folder / name)
            shutil.copy(folder / WEIGHTS, folder / Path(name).name)
        places = dict(zip(load_file(folder / WEIGHTS), place * 100, strict=False))
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
        (folder / WEIGHTS).unlink()

    return divide


def without_a_weight(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["norm.weight"]
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def replaced(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def linked(name: str, target: str) -> Callable[[Path], None]:
    def link(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return link


def pipe(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "pickled": (pickled, r"model\.safetensors is missing.*pytorch_model\.bin.*safe_serialization"),
    "outside": (divided("../outside.safetensors"), r"index\.json says.*'\.\./outside\.safetensors'.*same folder"),
    "divided_pickle": (divided("model.bin"), r"'model\.bin'"),
    "no_name": (divided(3), r"weights are in 3\."),
    "no_parts": (divided(), r"no files in its weight_map"),
    "empty": (replaced(WEIGHTS, b""), "cannot be used: .*header"),
    "garbage": (replaced(WEIGHTS, bytes(range(1, 200))), "cannot be used: .*header"),
    "missing_weight": (without_a_weight, r"norm\.weight"),
    "adapter": (replaced("adapter_config.json", b"{}"), r"adapter_config\.json.*Merge the adapter"),
    "dangling": (linked(WEIGHTS, "nowhere"), r"model\.safetensors is missing"),
    "pipe": (pipe, r"model\.safetensors is missing"),
    "loop": (linked("config.json", "config.json"), r"has no config\.json"),
    "nested": (replaced("config.json", b"[" * 100_000), "is not a JSON object"),
    "not_text": (replaced("config.json", b"\xff{}"), "is not a JSON object"),
    "no_processor": (lambda folder: (folder / PROCESSOR).unlink(), r"has no preprocessor_config\.json.*scaled"),
    "no_object": (lambda folder: edit(folder, PROCESSOR, image_processor=3), "not an object"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_files_that_cannot_be_used_are_refused(name: str, models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inside" / "model"
    shutil.copytree(models / "dinov3", folder)
    spoil, message = FOLDERS[name]
    spoil(folder)
    check_refused(folder, message)


CONFIG: dict[str, tuple[str, dict[str, Any], str]] = {
    "negative": ("dinov3", {"hidden_size": -3}, r"hidden_size in .*config\.json is -3\.\n.*positive number"),
    "shapes": ("dinov3", {"hidden_size": 48}, "the weights have other shapes than config.json says"),
    "zero_patch": ("dinov3", {"patch_size": 0}, "patch_size .* is 0"),
    "text": ("videomae_classifier", {"num_frames": "many"}, 'num_frames .* is "many"'),
    "three_sides": ("videomae_classifier", {"image_size": [1, 2, 3]}, "image_size .*height and width"),
    "names": ("videomae_classifier", {"id2label": {"a": "jump"}}, "id2label .*numbers from 0"),
    "short_tube": ("vivit", {"tubelet_size": [2]}, "tubelet_size .*three"),
    "tube": ("vivit", {"tubelet_size": 2}, "cannot be used: .*tubelet_size"),
    "type": ("dinov3", {"model_type": ["x"]}, r"of type \['x'\]"),
    "part": ("vivit", {"vision_config": 3}, "vision_config .*an object"),
    "quantized": ("dinov3", {"quantization_config": {"quant_method": "x"}}, "weights are quantized"),
    "kernel": ("dinov3", {"_attn_implementation": "someone/evil"}, "someone/evil.*code on the hub"),
}


@pytest.mark.parametrize("name", CONFIG)
def test_wrong_values_of_the_model_are_named(name: str, models: Path, tmp_path: Path) -> None:
    kind, values, message = CONFIG[name]
    folder = shutil.copytree(models / kind, tmp_path / "model")
    edit(folder, **values)
    check_refused(folder, message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": {"height": "a", "width": 3}}, "size .*shortest_edge"),
        ({"size": {"height": 0, "width": 0}}, "size .*shortest_edge"),
        ({"image_std": [0, 0, 0]}, "image_std .*three positive numbers"),
        ({"image_mean": ["a", 1, 1]}, "image_mean .*three numbers"),
        ({"rescale_factor": 0}, "rescale_factor .*positive"),
        ({"resample": [1]}, "resample .*0 to 5"),
        ({"crop_size": True, "do_center_crop": True}, "crop_size .* is true"),
    ],
)
def test_wrong_values_of_the_processor_are_named(
    values: dict[str, Any], message: str, models: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(models / "dinov3", tmp_path / "model")
    edit(folder, PROCESSOR, **values)
    check_refused(folder, message)


def check_refused(folder: Path, message: str) -> None:
    with pytest.raises((UserError, ValidationError), match=f"(?s){message}"):
        Config(model=str(folder)).build()


def test_null_in_the_processors_file_is_what_its_class_does(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "dinov3", tmp_path / "model")
    steps = Config(model=str(folder)).frame_steps()
    edit(folder, PROCESSOR, do_center_crop=None, crop_size=None, do_rescale=None)
    assert Config(model=str(folder)).frame_steps() == steps
    Config(model=str(folder)).build()


def test_weights_may_be_links_and_what_is_hashed_is_what_is_read(models: Path, tmp_path: Path) -> None:
    """As in the hub's cache; and of undivided weights and an index, transformers reads the former."""
    folder = shutil.copytree(models / "dinov3", tmp_path / "model")
    (folder / WEIGHTS).rename(tmp_path / "blob")
    (folder / WEIGHTS).symlink_to(tmp_path / "blob")
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"norm.weight": "other.safetensors"}}))
    assert Config(model=str(folder)).build().weights_sha256 == Config(model=str(models / "dinov3")).folder().sha256()


def test_code_in_the_folder_of_a_known_model_is_not_run_and_that_is_said(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(models / "dinov3", tmp_path / "model")
    Config(model=str(folder)).build()
    assert "auto_map" not in capsys.readouterr().err
    edit(folder, auto_map={"AutoModel": "evil.Model"})
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    Config(model=str(folder)).build()
    assert not (tmp_path / "ran").exists()
    said = " ".join(capsys.readouterr().err.split())
    assert "(auto_map), which is not run" in said
    assert "DINOv3" in said
