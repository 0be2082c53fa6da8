"""Frame steps as JSON values: the form in which a decoding process gets them."""

import base64
import pickle
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from actloc.settings.code_files import Packed
from actloc.video.augmentation import Mirror, ResizedCrop, Rotation
from actloc.video.colors import ColorJitter, Photometric
from actloc.video.frame_transforms import Crop, FrameStep, LeftHalf, OpticalFlow, Resize
from actloc.video.multi_scale_crop import MultiScaleCrop
from actloc.video.rand_augment import RandAugment

_KINDS: dict[str, type[FrameStep]] = {
    kind.__name__: kind
    for kind in (
        Resize,
        Crop,
        ResizedCrop,
        MultiScaleCrop,
        LeftHalf,
        Mirror,
        Photometric,
        Rotation,
        RandAugment,
        ColorJitter,
        OpticalFlow,
    )
}


def to_json(steps: Sequence[FrameStep]) -> list[dict[str, Any]]:  # Any: JSON values
    """JSON values for the decoding process; a user's own step is pickled with the path of its code."""
    return [
        {"step": type(step).__name__, **asdict(step)}  # type: ignore[call-overload]
        if type(step) in _KINDS.values()
        else {"packed": base64.b64encode(pickle.dumps(Packed.of(step))).decode()}
        for step in steps
    ]


def from_json(listed: list[dict[str, Any]]) -> list[FrameStep]:  # Any: JSON values
    """The steps that `to_json` wrote; only for input from this same command, because it unpickles."""
    steps = []
    for entry in listed:
        if "packed" in entry:
            steps.append(pickle.loads(base64.b64decode(entry["packed"])).opened())
            continue
        values = {key: _with_tuples(value) for key, value in entry.items()}
        del values["step"]
        steps.append(_KINDS[entry["step"]](**values))
    return steps


def _with_tuples(value: Any) -> Any:  # Any: JSON values
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
