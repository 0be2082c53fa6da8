"""Frames as the processors of transformers make them."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc.encoders.huggingface import Config, preprocessing
from actloc.encoders.huggingface.families import FAMILIES
from actloc.encoders.huggingface.network import HuggingFace
from tests.encoders import tiny_models

PROCESSORS = {  # those that run without torchvision; AutoImageProcessor takes VideoMAE's for a TimeSformer
    "videomae": "videomae.image_processing_pil_videomae.VideoMAEImageProcessorPil",
    "timesformer": "videomae.image_processing_pil_videomae.VideoMAEImageProcessorPil",
    "vivit": "vivit.image_processing_vivit.VivitImageProcessor",
    "siglip": "siglip.image_processing_pil_siglip.SiglipImageProcessorPil",
    "siglip2": "siglip2.image_processing_pil_siglip2.Siglip2ImageProcessorPil",
    "clip": "clip.image_processing_pil_clip.CLIPImageProcessorPil",
}
RECORDED = ("vjepa2", "dinov3")
SHAPES = ((40, 52), (90, 37))
EXACT = 2e-6  # of float32, in standard deviations


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for kind in (*PROCESSORS, *RECORDED):
        tiny_models.write(folder / kind, kind)
    return folder


def noise(shape: tuple[int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def made(encoder: HuggingFace, frame: NDArray[Any]) -> dict[str, Tensor]:
    for step in encoder.config.frame_steps():
        frame = step.apply(frame)
    return encoder._inputs(encoder._pixels(torch.from_numpy(np.ascontiguousarray(frame))[None]))


@pytest.mark.parametrize("kind", PROCESSORS)
@pytest.mark.parametrize("shape", [*SHAPES, (64, 64), (71, 120)])
def test_frames_equal_those_of_the_processors_that_run_without_torchvision(
    kind: str, shape: tuple[int, int], folders: Path
) -> None:
    module, _, name = PROCESSORS[kind].rpartition(".")
    processor = getattr(import_module(f"transformers.models.{module}"), name)(**tiny_models.KINDS[kind][2])
    is_video = FAMILIES[kind].is_video if kind in FAMILIES else False
    expected = processor([[noise(shape)]] if is_video else [noise(shape)], return_tensors="pt")
    found = made(Config(model=str(folders / kind)).build(), noise(shape))
    wanted = torch.as_tensor(np.asarray(expected["pixel_values"]))
    wanted = wanted[0] if is_video else wanted
    if kind == "siglip2":
        assert (expected["spatial_shapes"] == found["spatial_shapes"]).all()
        wanted = wanted[:, : found["pixel_values"].shape[1]]
    torch.testing.assert_close(found["pixel_values"], wanted, rtol=0, atol=EXACT)


@pytest.mark.parametrize("kind", RECORDED)
@pytest.mark.parametrize("shape", SHAPES)
def test_frames_equal_recorded_ones_of_the_processors_that_need_torchvision(
    kind: str, shape: tuple[int, int], folders: Path
) -> None:
    """DINOv3's exactly; V-JEPA 2's up to one of 255 levels, because torchvision adds up 8-bit pixels in another way."""
    recorded = np.load("tests/golden/features/huggingface_frames.npz")[f"{kind}/{shape[0]}x{shape[1]}"]
    encoder = Config(model=str(folders / kind)).build()
    (found,) = made(encoder, noise(shape)).values()
    difference = (found[0] - torch.from_numpy(recorded)).abs()
    if kind == "dinov3":
        assert float(difference.max()) < EXACT
        return
    levels = difference * encoder.get_buffer("_std")[:, None, None] * 255
    assert float((levels - levels.round()).abs().max()) < 1e-3
    assert float(levels.max()) < 1.001
    assert float((levels > 0.5).float().mean()) < 0.3


def test_sizes_and_values_worked_out_by_hand(folders: Path) -> None:
    frame = np.tile(np.arange(72, dtype=np.uint8)[None, :, None], (36, 1, 3))
    steps = Config(model=str(folders / "vjepa2")).frame_steps()
    resized = steps[0].apply(frame)
    assert resized.shape == (36, 72, 3)  # 32 * 256 / 224 = 36.57, rounded down
    np.testing.assert_array_equal(steps[1].apply(resized), frame[2:34, 20:52])
    whole = frame.astype(np.float32)
    for step in Config(model=str(folders / "dinov3")).frame_steps():
        whole = step.apply(whole)
    assert (whole.shape, whole.dtype) == ((32, 32, 3), np.float32)
    # 72 columns become 32: the centre of column 10 is at 10.5 * 2.25 - 0.5 = 23.125; a symmetric filter over a ramp
    # gives its centre, up to the 4 or 5 columns that it is sampled at
    assert whole[16, 10, 0] == pytest.approx(23.125, abs=0.1)
    assert whole[16, 10, 0] != round(float(whole[16, 10, 0]))


def test_vivit_scales_to_minus_one_to_one_also_where_its_file_does_not_say_so() -> None:
    """Its video processor always does, and its file has no `offset`; without rescaling there is none."""
    values = {"rescale_factor": 1 / 127.5, "do_normalize": False, "video_processor_type": "VivitVideoProcessor"}
    for more, expected in (({}, 1.0), ({"offset": False}, 0.0), ({"do_rescale": False}, 0.0)):
        factor, less, _, _ = preprocessing.scaling({**values, **more}, FAMILIES["vivit"])
        assert less == expected
        assert factor == (1.0 if "do_rescale" in more else 1 / 127.5)
    assert preprocessing.scaling({"do_normalize": False}, FAMILIES["videomae"])[:2] == (1 / 255, 0.0)
