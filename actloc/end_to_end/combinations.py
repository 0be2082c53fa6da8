"""Which settings of encoded features do not go together."""

from collections.abc import Mapping
from typing import Any

from actloc.encoders.base import EncoderConfig
from actloc.end_to_end import presets


def check(values: Mapping[str, Any], defaults: Mapping[str, Any], encoder: EncoderConfig) -> None:  # Any: of settings
    """Raises ValueError for the first setting that another one forbids, or that has no effect beside the others."""
    reasons = presets.without_effect({**values, "trainable": encoder.trainable})
    if encoder.mixes_clips:
        reasons["chunk"] = (
            f"the encoder {encoder.name} mixes the clips of a window with these settings, and gets all of them at once"
        )
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
    if values["outside"] == "repeat_window" and values["resize_to"] is not None:
        raise ValueError(
            "outside: found repeat_window, expected repeat, zero or black, because features.resize_to makes one window "
            "of each video"
        )
    if values["steps_per_clip"] is not None and values["others"] == "bank":
        raise ValueError(
            f"steps_per_clip: found {values['steps_per_clip']}, expected null, because the rows of features.bank are "
            "the encoder's vectors"
        )
    if values["resize_by"] not in ("clips", "frames"):
        return
    if values["align"] != "valid":
        raise ValueError(
            f"align: found {values['align']}, expected valid, because all clips of features.resize_by "
            f"{values['resize_by']} are inside the video"
        )
    steps, per_clip = values["resize_to"], values["steps_per_clip"]
    if values["resize_by"] == "frames" and (per_clip is None or steps % per_clip):
        raise ValueError(
            f"steps_per_clip: found {'null' if per_clip is None else per_clip}, expected a number that divides the "
            f"{steps} steps of features.resize_to, because features.resize_by is frames"
        )
    if values["others"] == "bank":
        raise ValueError(
            "others: found bank, expected no_gradient, because stored features are of clips at features.stride_frames, "
            "and not of those of features.resize_by " + values["resize_by"]
        )


def _check_encoder(values: Mapping[str, Any], encoder: EncoderConfig) -> None:
    """What the encoder can do and learn."""
    if encoder.precision != "float32":
        raise ValueError("encoder.precision has no effect: training.precision governs an encoder that trains")
    if not encoder.train_norms and encoder.trainable in ("none", "adapters"):
        reason = f"encoder.trainable is {encoder.trainable}"
        raise ValueError(f"encoder.train_norms: found False, which has no effect because {reason}")
    if encoder.mixes_clips and (values["fraction"] < 1 or values["route"] == "replay"):
        which = "fraction" if values["fraction"] < 1 else "route"
        raise ValueError(
            f"{which}: found {values[which]}, expected every clip in one pass (preset: adatad or full), because the "
            f"encoder {encoder.name} mixes the clips of a window with these settings"
        )
