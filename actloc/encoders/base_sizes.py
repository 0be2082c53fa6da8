"""How large encoders are, and what one clip costs: recorded for the settings of the shipped configs.

`scripts/encoder_sizes.py` counts them and writes sizes.json, so that `actloc show` answers without importing torch.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actloc import files
from actloc.encoders.base import EncoderConfig

FILE = Path(__file__).with_name("sizes.json")


@dataclass(frozen=True)
class EncoderSize:
    """What papers state of a network."""

    weights: int
    """All weights that can learn."""
    feature_weights: int
    """Those of them that features need; the others are usually a classifier's."""
    clip: tuple[int, int, int]
    """Frames, height and width."""
    multiply_adds: int | None
    """Of one clip, with its class scores if there is a classifier; None if they cannot be counted, which is said."""
    feature_multiply_adds: int | None
    """Those of them that features need."""
    vectors: tuple[int, int]
    """Channels and number of the feature vectors of a clip; of what cannot be counted, 0 vectors."""

    def __str__(self) -> str:
        text, of_features = (f"{number / 1e6:.2f} million" for number in (self.weights, self.feature_weights))
        text += " weights" if of_features == text else f" weights, {of_features} of them for features"
        if self.multiply_adds is None:
            return f"{text}; its multiply-adds are not counted, because it looks at values or at whole videos"
        frames, height, width = self.clip
        return f"{text}; {self.multiply_adds / 1e9:.2f} G multiply-adds for a clip of {frames} x {height} x {width}"

    def with_classifier(self, num_classes: int) -> "EncoderSize":
        """The size of a recogniser: a linear layer over each vector, in place of a classifier of the encoder's own."""
        channels, number = self.vectors
        known = self.feature_multiply_adds
        return replace(
            self,
            weights=self.feature_weights + (channels + 1) * num_classes,
            multiply_adds=None if known is None else known + number * channels * num_classes,
        )


def recorded(config: EncoderConfig, num_frames: int) -> EncoderSize | None:
    """The recorded size of a shipped encoder with these settings, for clips of `num_frames`; None if there is none."""
    if not type(config).__module__.startswith(f"{__package__}."):
        return None  # the user's own, which may have the name of a shipped one
    wanted = place(config, num_frames)
    for row in files.read_json(FILE):
        if row["settings"] == wanted:
            size = row["size"]
            return EncoderSize(**{**size, "clip": tuple(size["clip"]), "vectors": tuple(size["vectors"])})
    return None


def place(config: EncoderConfig, num_frames: int) -> dict[str, Any]:  # Any: JSON values
    """The settings that a size is recorded under: those of the encoder's own, but no files of weights."""
    every = type(config).model_fields
    own = {name for name in every if name not in EncoderConfig.model_fields and not name.endswith("weights")}
    values = config.model_dump(mode="json", include=own)
    return {"encoder": config.name, **values, "clip_frames": num_frames}
