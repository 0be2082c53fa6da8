"""Folders of tiny models in transformers' form, with random weights: `python -m tests.encoders.tiny_models FOLDER`."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

_PICTURES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 40}
_SQUARE = {**_PICTURES, "image_size": 32, "patch_size": 8}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_CROPPED = {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 36}}
_SQUEEZED = {"size": {"height": 32, "width": 32}}
_USUAL = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 2, "rescale_factor": 1 / 255}
_JEPA = {
    "patch_size": 8,
    "crop_size": 32,
    "frames_per_clip": 4,
    "hidden_size": 24,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "num_pooler_layers": 1,
    "mlp_ratio": 2.0,
    "pred_hidden_size": 24,
    "pred_num_attention_heads": 2,
    "pred_num_hidden_layers": 1,
}
CLASSES = ("jump", "run", "sit")
_NAMES: dict[str, Any] = {"id2label": dict(enumerate(CLASSES)), "label2id": {n: i for i, n in enumerate(CLASSES)}}
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "videomae": ("VideoMAEModel", {**_SQUARE, "num_frames": 4}, {**_USUAL, **_IMAGENET, **_CROPPED}),
    "videomae_classifier": (
        "VideoMAEForVideoClassification",
        {**_SQUARE, "num_frames": 4, **_NAMES},
        {**_USUAL, **_IMAGENET, **_CROPPED},
    ),
    "vjepa2": ("VJEPA2Model", _JEPA, {**_USUAL, **_IMAGENET, **_CROPPED}),
    "vjepa2_classifier": ("VJEPA2ForVideoClassification", {**_JEPA, **_NAMES}, {**_USUAL, **_IMAGENET, **_CROPPED}),
    "timesformer": ("TimesformerModel", {**_SQUARE, "num_frames": 4}, {**_USUAL, **_IMAGENET, **_CROPPED}),
    "timesformer_classifier": (
        "TimesformerForVideoClassification",
        {**_SQUARE, "num_frames": 4, **_NAMES},
        {**_USUAL, **_IMAGENET, **_CROPPED},
    ),
    "vivit": (
        "VivitModel",
        {**_SQUARE, "num_frames": 4, "tubelet_size": [2, 8, 8]},
        {**_USUAL, **_HALVES, **_CROPPED, "rescale_factor": 1 / 127.5, "offset": True},
    ),
    "vivit_classifier": (
        "VivitForVideoClassification",
        {**_SQUARE, "num_frames": 4, "tubelet_size": [2, 8, 8], **_NAMES},
        {**_USUAL, **_HALVES, **_CROPPED, "rescale_factor": 1 / 127.5, "offset": True},
    ),
    "dinov3": ("DINOv3ViTModel", {**_SQUARE, "num_register_tokens": 2}, {**_USUAL, **_IMAGENET, **_SQUEEZED}),
    "siglip": ("SiglipVisionModel", _SQUARE, {**_USUAL, **_HALVES, **_SQUEEZED}),
    "siglip_classifier": (
        "SiglipForImageClassification",
        {"vision_config": _SQUARE, **_NAMES},
        {**_USUAL, **_HALVES, **_SQUEEZED},
    ),
    "siglip2": (
        "Siglip2VisionModel",
        {**_PICTURES, "patch_size": 8, "num_patches": 16},
        {**_USUAL, **_HALVES, "patch_size": 8, "max_num_patches": 20},
    ),
    "clip": ("CLIPVisionModel", _SQUARE, {**_USUAL, **_IMAGENET, **_CROPPED, "resample": 3}),
    "clip_classifier": (
        "CLIPForImageClassification",
        {"vision_config": _SQUARE, **_NAMES},
        {**_USUAL, **_IMAGENET, **_CROPPED, "resample": 3},
    ),
}
"""Class of transformers, settings of the model and of its processor, by a name of ours."""


def reference(kind: str, seed: int = 0) -> Any:  # Any: a model of transformers
    """A model with every weight drawn, also those that start at zero."""
    name, settings, _ = KINDS[kind]
    model_class = getattr(transformers, name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(model_class.config_class(**settings)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def write(folder: Path, kind: str, seed: int = 0) -> Any:  # Any: a model of transformers
    """Writes the folder and returns the model."""
    model = reference(kind, seed)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(KINDS[kind][2]))
    return model


if __name__ == "__main__":
    for each in KINDS:
        write(Path(sys.argv[1]) / each, each)
