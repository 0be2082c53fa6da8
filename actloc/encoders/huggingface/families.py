"""What differs between the families of models: classes of transformers, places of tokens, clips, and usual pooling."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Pooling = Literal["mean", "cls", "pooler"]
Values = Mapping[str, Any]  # Any: JSON values


@dataclass(frozen=True)
class Family:
    """The models of one architecture; names are those of transformers 5."""

    title: str
    model: str
    """The class without a head."""
    classifier: str | None
    """The class with a classifier; None if transformers has none."""
    holds: str = ""
    """Where the class with a classifier keeps the one without."""
    is_video: bool = True
    input: str = "pixel_values"
    layers: str = "encoder.layer"
    """The list of blocks."""
    first: tuple[str, ...] = ("embeddings",)
    """What runs before the blocks."""
    last: tuple[str, ...] = ("layernorm",)
    """What runs after them for every pooling."""
    map_norm: str = "layernorm_before"
    """The norm of a block whose output is explained: the one before its attention, where every token still counts."""
    tubelet: int | tuple[int, int, int] = 1
    """Frames of a token, or frames, height and width, where config.json leaves them out."""
    side: int = 16
    """The side of a token in pixels, where config.json leaves it out."""
    num_prefix: int = 0
    """Tokens before those of the picture: the class token."""
    frames_key: str | None = None
    """Where the settings of the model have the only number of frames that it takes; None: any."""
    side_key: str | None = "image_size"
    """Where they have the only size of pictures that it takes; None: any."""
    is_time_last: bool = False
    """Whether tokens are numbered by place and then by time."""
    pools: tuple[Pooling, ...] = ("mean",)
    """The poolings that it has, the usual one first."""
    classifies: Pooling = "cls"
    """The pooling that its classifier takes."""
    pooler: str | None = None
    """The module of its pooling `pooler`, in the class without a head, or beside it in the class with a classifier."""
    crops: bool = True
    """Whether its processor resizes the short side and cuts the centre, where its file does not say."""
    resizes_floats: bool = False
    """Whether its processor resizes without rounding to 8 bits."""

    def vision(self, config: Values) -> Values:
        """The settings of the part that looks at pictures."""
        return config.get("vision_config", config)

    def patch(self, config: Values) -> tuple[int, int, int]:
        """Frames, height and width of what becomes a token."""
        values = self.vision(config)
        tubelet, side = values.get("tubelet_size", self.tubelet), values.get("patch_size", self.side)
        if isinstance(tubelet, list | tuple):
            return tubelet[0], tubelet[1], tubelet[2]
        height, width = side if isinstance(side, list | tuple) else (side, side)
        return (tubelet if self.is_video else 1), height, width

    def prefix(self, config: Values) -> int:
        """The number of tokens before those of the picture."""
        return self.num_prefix + int(self.vision(config).get("num_register_tokens", 0) if self.num_prefix else 0)


_VIDEOMAE = Family(
    "VideoMAE",
    "VideoMAEModel",
    "VideoMAEForVideoClassification",
    "videomae",
    tubelet=2,
    frames_key="num_frames",
    pools=("mean", "pooler"),
    classifies="pooler",
    pooler="fc_norm",
)
_VJEPA2 = Family(
    "V-JEPA 2",
    "VJEPA2Model",
    "VJEPA2ForVideoClassification",
    "vjepa2",
    tubelet=2,
    input="pixel_values_videos",
    first=("encoder.embeddings",),
    last=("encoder.layernorm",),
    map_norm="norm1",
    side_key=None,
    pools=("mean", "pooler"),
    classifies="pooler",
    pooler="pooler",
)
_TIMESFORMER = Family(
    "TimeSformer",
    "TimesformerModel",
    "TimesformerForVideoClassification",
    "timesformer",
    num_prefix=1,
    frames_key="num_frames",
    is_time_last=True,
    pools=("cls", "mean"),
)
_VIVIT = Family(
    "ViViT",
    "VivitModel",
    "VivitForVideoClassification",
    "vivit",
    layers="layers",
    tubelet=(2, 16, 16),
    num_prefix=1,
    frames_key="num_frames",
    pools=("cls", "mean", "pooler"),
    pooler="pooler",
)
_DINO3 = Family(
    "DINOv3",
    "DINOv3ViTModel",
    None,
    is_video=False,
    layers="model.layer",
    last=("norm",),
    map_norm="norm1",
    num_prefix=1,
    side_key=None,
    pools=("cls", "mean"),
    crops=False,
    resizes_floats=True,
)
_SIGLIP = Family(
    "SigLIP 2 of one resolution",
    "SiglipVisionModel",
    "SiglipForImageClassification",
    "vision_model",
    is_video=False,
    layers="encoder.layers",
    last=("post_layernorm",),
    map_norm="layer_norm1",
    pools=("pooler", "mean"),
    classifies="mean",
    pooler="head",
    crops=False,
)
_SIGLIP2 = Family(
    "SigLIP 2 of any resolution (NaFlex)",
    "Siglip2VisionModel",
    "Siglip2ForImageClassification",
    "vision_model",
    is_video=False,
    layers="encoder.layers",
    last=("post_layernorm",),
    map_norm="layer_norm1",
    side_key=None,
    pools=("pooler", "mean"),
    classifies="mean",
    pooler="head",
    crops=False,
)
_CLIP = Family(
    "CLIP",
    "CLIPVisionModel",
    "CLIPForImageClassification",
    "vision_model",
    is_video=False,
    layers="encoder.layers",
    first=("embeddings", "pre_layrnorm"),
    last=(),
    map_norm="layer_norm1",
    side=32,
    num_prefix=1,
    pools=("pooler", "cls", "mean"),
    classifies="mean",
    pooler="post_layernorm",
)
FAMILIES = {
    "videomae": _VIDEOMAE,
    "vjepa2": _VJEPA2,
    "timesformer": _TIMESFORMER,
    "vivit": _VIVIT,
    "dinov3_vit": _DINO3,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2": _SIGLIP2,
    "siglip2_vision_model": _SIGLIP2,
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
}
"""By the `model_type` of a model's config.json."""
