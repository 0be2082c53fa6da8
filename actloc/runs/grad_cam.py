"""Grad-CAM on an encoder: its layers by name, and the maps of one of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from actloc import console
from actloc.encoders.base_network import ClipEncoder
from actloc.errors import UserError
from actloc.layers.grad_cam import Watched, class_maps


class LayerMaps:
    """The maps of one layer of an encoder, for a score of what is encoded while it is watched."""

    def __init__(self, encoder: ClipEncoder, layer: str, watched: Watched) -> None:
        self.layer = layer
        self._encoder = encoder
        self._watched = watched

    def backward(self, score: Tensor) -> None:
        """Passes the gradient of a score back to the layer, and to no weights."""
        self._watched.backward(score)

    def of_clips(self, num_clips: int, clip: tuple[int, int, int]) -> Tensor:
        """Maps (S, t, h, w), at least 0, of all S clips of (F, H, W): where they raise the score.

        Once the score has passed its gradient back. Raises UserError if the layer has no such maps.
        """
        outputs, gradients = self._watched.with_gradients()
        if not outputs.numel():
            raise self._unfit("no gradient reaches it", "a layer that runs with gradient, and gives one tensor")
        maps = self._encoder.as_maps(outputs, clip)
        if maps.dim() != 5 or len(maps) != num_clips:
            expected = f"maps (clips, channels, time, height, width) of {console.count(num_clips, 'clip')}"
            raise self._unfit(f"it gives {list(outputs.shape)} for clips of {list(clip)}", expected)
        return class_maps(maps, self._encoder.as_maps(gradients, clip))

    def _unfit(self, why: str, expected: str) -> UserError:
        return UserError(
            f"The layer {self.layer} of the encoder {self._encoder.config.name} cannot be drawn: {why}.",
            f"Expected {expected}.",
            "Name another one: --layer NAME. An encoder of your own lists them in `map_layers`; its `as_maps` gives "
            "their maps.",
        )


def layer_named(encoder: ClipEncoder, name: str | None) -> str:
    """The layer of this name, or the last one; raises UserError for a layer that the encoder does not have."""
    layers = list(encoder.map_layers())
    if not layers:
        raise UserError(
            f"The encoder {encoder.config.name} has no layers with maps of the picture.",
            "Expected a network of which Grad-CAM can show where it looked.",
            "Explain a run of another encoder: actloc ls encoders",
        )
    if name is not None and name not in layers:
        raise UserError(
            f"The encoder {encoder.config.name} has no layer {name}.",
            f"Expected one of these:\n  {console.first_lines(reversed(layers))}",
            f"Leave --layer out for {layers[-1]}, or name another.",
        )
    return layers[-1] if name is None else name


@contextmanager
def watching(encoder: ClipEncoder, layer: str) -> Iterator[LayerMaps]:
    """Keeps, inside it, what the layer makes of clips that are encoded with gradients on."""
    with Watched(encoder.map_layers()[layer]) as watched:
        yield LayerMaps(encoder, layer, watched)
