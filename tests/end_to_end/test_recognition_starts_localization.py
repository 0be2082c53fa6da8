"""A recogniser is trained, written as its authors would, and starts the encoder of a detector."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from actloc.files import sha256_of_file
from actloc.store.store import FeatureStore
from tests.end_to_end.test_dualformer_run import ENCODER
from tests.toy import CONFIG, actloc, copy_toy

DATA = CONFIG[: CONFIG.index("features:")]
ENCODERS = {
    "tanet": ("{name: tanet, short_side: 40, crop: 32}", 8),
    "dualformer": (ENCODER.replace("rate_factor: 0.1, ", ""), 4),
}
RECOGNITION = (
    "task: {name: recognition}\n"
    + DATA
    + """network: {start: random}
clips: {encoder: ENCODER, sampling: uniform, frames: FRAMES}
optimizer: {learning_rate: 1e-2, weight_decay: 0.01}
schedule: {epochs: 1, warmup_epochs: 0}
average: {decay: 0.5}
training: {batch_size: 4}
machine: {device: cpu, decoders: 1}
"""
)


def of_encoder(*files: Path) -> dict[str, Tensor]:
    """The encoder's weights and statistics in files of a run."""
    tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    return {name: tensor for name, tensor in tensors.items() if name.startswith("encoder/")}


@pytest.mark.parametrize("name", ENCODERS)
def test_the_encoder_of_a_detector_starts_with_the_weights_of_a_recogniser(
    toy: Path, tmp_path: Path, name: str
) -> None:
    folder = copy_toy(toy, tmp_path / "toy")
    encoder, frames = ENCODERS[name]
    (folder / "names.yaml").write_text(RECOGNITION.replace("ENCODER", encoder).replace("FRAMES", str(frames)))
    chosen = f"features.encoder={encoder[:-1]}, weights: trained.pth}}"
    clips = (f"features.clip_frames={frames}", f"features.stride_frames={frames}", chosen)
    encoded = DATA + f"features: {{name: encoded, preset: frozen, encoder: {encoder}, fps: 8, clip_frames: 2, "
    encoded += "stride_frames: 2, max_steps: 32}\n" + CONFIG[CONFIG.index("detector:") :]
    (folder / "encoded.yaml").write_text(encoded)
    for command in (
        ("prepare", "names.yaml"),
        ("train", "names.yaml"),
        ("convert", "ckpt/names", "trained.pth"),
        ("extract-features", "toy.yaml", *clips),
        ("train", "toy.yaml", *clips, "run.name=stored"),
        ("train", "encoded.yaml", *clips),
    ):
        done = actloc(folder, *command)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    (checkpoint,) = (folder / "ckpt/names").glob("ckpt_*")
    frozen = folder / "ckpt/names/frozen.safetensors"
    of_recognizer = of_encoder(checkpoint / "averaged.safetensors", *([frozen] if frozen.is_file() else []))
    of_detector = of_encoder(folder / "ckpt/encoded/frozen.safetensors")
    assert len(of_recognizer) > 50
    missing = of_recognizer.keys() - of_detector.keys()
    assert not missing
    assert all(torch.equal(of_detector[key], tensor) for key, tensor in of_recognizer.items())
    drawn = of_encoder(checkpoint / "weights.safetensors")
    assert any(not torch.equal(of_detector[key], tensor) for key, tensor in drawn.items())  # averaged ones are written
    sha256 = sha256_of_file(folder / "trained.pth")
    assert FeatureStore(folder / "features").info("v0").weights_sha256 == sha256
