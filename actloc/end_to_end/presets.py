"""The published ways to train an encoder with a detector, as values of the settings of encoded features."""

from collections.abc import Mapping
from typing import Any

PRESETS: dict[str, dict[str, Any]] = {  # Any: values of settings
    "full": {"trainable": "all"},
    "chunked": {"trainable": "all", "route": "replay"},
    "etad": {"trainable": {"from_stage": 2}, "fraction": 0.3, "round_to": 4, "route": "replay"},
    "tallformer": {
        "trainable": {"from_stage": 2},
        "fraction": 0.15,
        "shared_draw": True,
        "others": "bank",
        "checkpoint_blocks": True,
    },
    "bank_replay": {"trainable": "all", "fraction": 0.3, "others": "bank", "route": "replay", "kept_chunks": 1},
    "adatad": {"trainable": "adapters", "checkpoint_blocks": True},
    "frozen": {"trainable": "none"},
}
"""What each preset sets, unless the settings do; `trainable` is the encoder's."""

FOR_ANY_ENCODER = tuple(name for name, preset in PRESETS.items() if preset["trainable"] != "adapters")
"""The presets that do not need an encoder with adapters."""

USELESS = {
    "trainable": (
        "fraction",
        "choice",
        "round_to",
        "shared_draw",
        "others",
        "route",
        "kept_chunks",
        "checkpoint_blocks",
    ),
    "fraction": ("choice", "round_to", "shared_draw", "others"),
}
"""Settings without effect where no weight learns, or where all clips do."""

GUIDE = """
Which preset? It depends on the memory that is left for activations; `actloc train CONFIG --dry-run` prints what yours
needs. One clip keeps, in float32: VideoMAE ViT-S at 16 x 112 x 112 113 MB; R(2+1)D-34 763 MB, or 74 MB from stage 2 on.

memory for activations       preset       gradient                features   encoder's work in a step
clips of a batch x one clip  full         exact                   new        one pass forward, one backward
                             + features.checkpoint_blocks=true               one pass more; keeps a tenth to a sixth
clips that learn x one clip  tallformer   of 3 clips in 20        17/20 old  those forward twice and backward
features.chunk x one clip    chunked      exact, of any length    new        one pass forward more
features.chunk x one clip    etad         of 3 clips in 10        new        all forward, 3 in 10 again and backward
features.chunk x one clip    bank_replay  of 3 clips in 10        7/10 old   3 in 10 forward twice and backward,
                                                                             a chunk of them forward once
clips of a batch x a tenth   adatad       exact, of the adapters  new        one pass forward more
as much, or less             + adapters.ladder=true               new        one pass forward, backward beside it
none                         frozen       none                    new        one pass forward

Measured on the sample's videos, the detector's part included (processor time of a step on one thread of an AMD EPYC;
bank_replay with features.kept_chunks=0):

               EfficientNet-Lite0      transformer of 2 blocks
               MB kept   s per step    MB kept   s per step
full             1,542         2.45         62         0.17
chunked            135         3.34         11         0.31
etad                66         1.34         11         0.14
tallformer          18         0.46         12         0.07
bank_replay        135         0.95         11         0.11
adatad               -            -         14         0.16
 + ladder            -            -         14         0.12
frozen              12         0.60         11         0.11

tallformer and bank_replay read the features of the other clips from a bank of stored features, which are older the
longer ago their clips were encoded: `actloc extract-features CONFIG` makes the first ones, in features.bank. With the
transformer, in the second half of 18 epochs, their median age is 5.6 epochs under tallformer, 2.7 under bank_replay.

adatad is for an encoder with adapters (features.encoder={name: videomae, adapters: {}}). They mix the clips of a
window, so all of these are encoded together: features.chunk, fraction, route=replay and the bank are not for them. The
network itself does not learn; adapters={ladder: true} places them beside it, for as much memory or less.

bank_replay keeps the first chunk that learns until the backward pass, beside the detector's activations; each further
one, features.kept_chunks=2 and so on, saves its second forward pass, and 0 needs the least memory. etad and chunked
keep none, unless it is set. features.memory_gb keeps as many as fit, in all three.

Less memory still: features.chunk=1, features.encoder.trainable={from_stage: 2}, fewer or smaller frames. Where
features.chunk fits the memory, raising it saves a little time. The chunk does not change the gradient, but for which
branches stochastic depth skips (features.encoder.drop_path, where encoders have it): each call of the encoder draws
its own.
"""


def without_effect(values: Mapping[str, Any]) -> dict[str, str]:  # Any: values of settings
    """The settings that have no effect beside these, each with the reason."""
    reasons = {"downsample": "the encoder makes the features: set stride_frames"}
    if values.get("resize_to"):
        reasons["encode_padding"] = f"every video has the {values['resize_to']} steps of features.resize_to"
        if values.get("resize_by") != "frames":
            reasons["steps_per_clip"] = reasons["encode_padding"]
    if values.get("clip_origin", "video") != "video":
        reasons["resize_to"] = f"windows have their own clips, by features.clip_origin {values['clip_origin']}"
    if values["trainable"] == "none":
        reasons |= dict.fromkeys(USELESS["trainable"], "features.encoder.trainable is none")
    if values.get("route", "direct") == "direct":
        reasons["kept_chunks"] = reasons.get("kept_chunks", "features.route is direct, which keeps all of them")
    if values.get("fraction", 1.0) == 1:
        whole = f"features.fraction is {values.get('fraction', 1.0)}"
        reasons |= {name: reasons.get(name, whole) for name in USELESS["fraction"]}
    return reasons


def expanded(block: dict[str, Any]) -> dict[str, Any]:  # Any: not yet checked
    """Writes the preset's settings out, except those that are set, and those that have no effect beside these."""
    preset = PRESETS.get(str(block.get("preset")))
    if preset is None or not isinstance(block.get("encoder"), dict):
        return block
    encoder = {"trainable": preset["trainable"], **block["encoder"]}
    left_out = {"trainable", *without_effect({**preset, **block, "trainable": encoder["trainable"]})}
    if block.get("memory_gb") is not None:
        left_out.add("kept_chunks")  # chosen with what else fits
    own = {name: value for name, value in preset.items() if name not in left_out}
    return {**own, **block, "encoder": encoder}
