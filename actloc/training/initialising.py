"""Starts networks from weights that were trained before, as far as they fit, and says what was taken."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from actloc.training import modules
from actloc.training.modules import DETECTOR, Modules


@dataclass(frozen=True)
class StartingWeights:
    """Weights to start from, named as in `training.modules`."""

    origin: str
    """Where they come from, for messages: a checkpoint's folder or a file."""
    tensors: Mapping[str, Tensor]
    classes: Sequence[str] | None
    """The classes that they were trained on, in their order; None if that is not known."""
    encoder_weights_sha256: str | None = None
    """The weights that made the features which a detector was trained on."""


@dataclass(frozen=True)
class Taken:
    """The names of tensors by what became of them."""

    taken: list[str] = field(default_factory=list)
    partly: dict[str, list[str]] = field(default_factory=dict)
    """Tensors with an entry for each class, with the classes whose entries were taken."""
    new: dict[str, str] = field(default_factory=dict)
    """Tensors that keep their initial values, with the reason."""
    left: list[str] = field(default_factory=list)
    """Tensors of the file that no network has."""


def initialise(
    networks: Modules, start: StartingWeights, classes: Sequence[str], class_axes: Mapping[str, int | None]
) -> Taken:
    """Copies what fits into the networks.

    If the classes are not those of the start, `class_axes` name the tensors that depend on them, with the axis that has
    an entry for each, or None where entries cannot be told apart. Entries of classes of the same name are then taken,
    and the others stay new.
    """
    own = {**modules.learning(networks), **modules.frozen(networks)}
    chosen: dict[str, Tensor] = {}
    tensors = _named_as(own, start.tensors)
    result = Taken(left=sorted(tensors.keys() - own.keys()))
    for name, tensor in own.items():
        found = tensors.get(name)
        if found is None:
            result.new[name] = "not in the start"
        elif name in class_axes:
            _take_classes(name, found, tensor, start, classes, class_axes[name], chosen, result)
        elif found.shape != tensor.shape:
            result.new[name] = f"{tuple(found.shape)} in the start, {tuple(tensor.shape)} here"
        else:
            chosen[name] = found
            result.taken.append(name)
    modules.load(networks, chosen)
    return result


def class_axes(own: Mapping[str, Tensor], larger: Mapping[str, Tensor], num_classes: int) -> dict[str, int | None]:
    """The tensors of a network that differ from those of the same one with a class more, with the axis of the classes.

    None where an axis has something else than one entry for each class.
    """
    axes: dict[str, int | None] = {}
    for name in own.keys() & larger.keys():
        sizes = list(zip(own[name].shape, larger[name].shape, strict=True))
        differing = [axis for axis, (mine, other) in enumerate(sizes) if mine != other]
        if differing:
            is_of_classes = len(differing) == 1 and sizes[differing[0]] == (num_classes, num_classes + 1)
            axes[name] = differing[0] if is_of_classes else None
    return axes


def _named_as(own: Container[str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of these networks: a detector without classes may be inside one that adds them."""
    inner = f"{DETECTOR}/detector."
    renamed = {}
    for name, tensor in tensors.items():
        into, out_of = name.replace(f"{DETECTOR}/", inner, 1), name.replace(inner, f"{DETECTOR}/", 1)
        renamed[next((one for one in (name, into, out_of) if one in own), name)] = tensor
    return renamed


def _take_classes(
    name: str,
    found: Tensor,
    tensor: Tensor,
    start: StartingWeights,
    classes: Sequence[str],
    axis: int | None,
    chosen: dict[str, Tensor],
    result: Taken,
) -> None:
    """Takes the entries of the classes that both know, if the rest of the shape is the same."""
    old = list(start.classes or ())
    shared = [label for label in classes if label in old]
    is_like = axis is not None and found.dim() == tensor.dim() and found.shape[axis] == len(old)
    if not shared or not is_like or axis is None:
        result.new[name] = "of other classes"
        return
    rows = torch.tensor([old.index(label) for label in shared])
    places = torch.tensor([list(classes).index(label) for label in shared], device=tensor.device)
    entries = found.index_select(axis, rows.to(found.device))
    if entries.shape != tensor.index_select(axis, places).shape:
        result.new[name] = f"{tuple(found.shape)} in the start, {tuple(tensor.shape)} here"
        return
    chosen[name] = tensor.detach().clone().index_copy_(axis, places, entries.to(tensor.device, tensor.dtype))
    result.partly[name] = shared
