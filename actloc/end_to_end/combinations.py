"""Which settings of encoded features do not go together."""

from collections.abc import Mapping
from typing import Any

from actloc.encoders.base import EncoderConfig
from actloc.end_to_end import presets


def check(values: Mapping[str, Any], defaults: Mapping[str, Any], encoder: EncoderConfig) -> None:  # Any: of settings
    """Raises ValueError for the first setting that another one forbids, or that has no effect beside the others."""
    reasons = presets.without_effect({**values, "trainable": encoder.trainable})
    _check_places(values, reasons)
    for name, reason in reasons.items():
        if values[name] != defaults[name]:
            raise ValueError(f"{name}: found {values[name]}, which has no effect because {reason}")
    if values["others"] == "bank" and values["bank"] is None:
        raise ValueError(
            "bank: is missing; expected the folder of stored features that the bank starts from, such as "
            "data/features/NAME: extract-features fills it"
        )
    _check_encoder(values, encoder)


def _check_places(values: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    """Where clips begin."""
    if values["align"] == "backpad" and (values["clip_origin"] != "video" or values["encode_padding"]):
        raise ValueError(
            "align: found backpad, expected valid, padded or centred, because features.clip_origin and "
            "features.encode_padding need clips that are equally far apart"
        )
    if values["clip_origin"] != "video" and values["choice"] == "oldest":
        raise ValueError(f"choice: found oldest, which needs the same clips in every visit: {reasons['resize_to']}")
    if values["resize_by"] != "clips":
        return
    if values["align"] != "valid":
        raise ValueError(
            f"align: found {values['align']}, expected valid, because all clips of features.resize_by clips are inside "
            "the video"
        )
    if values["others"] == "bank":
        raise ValueError(
            "others: found bank, expected no_gradient, because stored features are of clips at features.stride_frames, "
            "and not of those of features.resize_by clips"
        )


def _check_encoder(values: Mapping[str, Any], encoder: EncoderConfig) -> None:
    """What the encoder can do and learn."""
    if encoder.precision != "float32":
        raise ValueError("encoder.precision has no effect: training.precision governs an encoder that trains")
    if not encoder.train_norms and encoder.trainable == "none":
        raise ValueError("encoder.train_norms: found False, which has no effect because encoder.trainable is none")
    if encoder.mixes_clips and (values["fraction"] < 1 or values["route"] == "replay"):
        which = "fraction" if values["fraction"] < 1 else "route"
        raise ValueError(
            f"{which}: found {values[which]}, expected every clip in one pass (preset: full), because the "
            f"encoder {encoder.name} mixes the clips of a window with these settings"
        )
