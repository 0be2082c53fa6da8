"""The code of `scripts/made_up_weights`: files like those that encoders' authors publish, with made-up numbers."""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from actloc import console, experiment, files, raft_flow
from actloc.encoders import dualformer, i3d, r2plus1d, slowfast, tanet, video_swin, videomae, videomae2
from actloc.encoders.r2plus1d import network as r2plus1d_network
from actloc.encoders.slowfast import network as slowfast_network
from actloc.errors import ActlocError
from actloc.layers.raft import RAFT
from actloc.settings.sections import Part
from actloc.weights import official_dualformer
from actloc.weights.published import FOLDER, MADE_UP, PublishedFile
from tests.golden.fill import fill

Content = dict[str, Any]  # Any: what torch.save takes
_TSP_HEADS = {"fc1.weight": (200, 512), "fc1.bias": (200,), "fc2.weight": (2, 1024), "fc2.bias": (2,)}


def filled(shapes: dict[str, tuple[int, ...]], prefix: str = "") -> Content:
    """A tensor for every name, filled by the rule of the tests' fixtures; counters of batches are 0."""
    counter = torch.tensor(0)
    return {
        f"{prefix}{name}": counter if name.endswith("batches_tracked") else torch.from_numpy(fill(name, shape))
        for name, shape in shapes.items()
    }


def state(build: Callable[[], nn.Module], prefix: str = "") -> Content:
    """Filled weights for the network that `build` builds."""
    with torch.device("meta"):
        network = build()
    return filled({name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}, prefix)


def needed(encoder: Part | None) -> Iterator[tuple[Path | None, PublishedFile, Callable[[], Content]]]:
    """The files that an encoder reads, as (path in the settings, published file, content); none if actloc has them."""
    match encoder:
        case dualformer.Config(size=str() as size):
            yield encoder.weights, dualformer.SIZES[size].published, lambda: {"state_dict": _dualformer(encoder)}
        case i3d.Config():
            paths = {"rgb": encoder.weights, "flow": encoder.flow_weights}
            for one in encoder.streams:
                yield paths[one], i3d.PUBLISHED[one], lambda one=one: state(lambda: encoder.network().streams[one])
            if encoder.has_raft:
                yield encoder.raft_weights, raft_flow.PUBLISHED, lambda: state(RAFT, "module.")
        case r2plus1d.Config():
            yield encoder.weights, r2plus1d_network.VARIANTS[encoder.variant].published, lambda: _r2plus1d(encoder)
        case slowfast.Config():
            yield encoder.weights, slowfast.PUBLISHED[encoder.depth], lambda: {"model_state": _slowfast(encoder)}
        case tanet.Config(weights_of="tanet"):
            yield encoder.weights, tanet.PUBLISHED[encoder.frames], lambda: {"state_dict": _tanet(encoder)}
        case video_swin.Config(size=str() as size):
            yield encoder.weights, video_swin.SIZES[size].published, lambda: {"state_dict": _video_swin(encoder)}
        case videomae.Config(size=str() as size):
            yield encoder.weights, videomae.SIZES[size].published, lambda: {"state_dict": _videomae(encoder)}
        case videomae2.Config():
            yield encoder.weights, videomae2.SIZES[encoder.size].published, lambda: {"module": state(encoder.network)}


def _r2plus1d(encoder: r2plus1d.Config) -> Content:
    """TSP's checkpoint for 34 layers, torchvision's for the others."""
    if encoder.variant != "r2plus1d_34":
        return state(encoder.network)
    trunk = {name: tensor for name, tensor in state(encoder.network, "features.").items() if ".fc" not in name}
    return {"model": trunk | filled(_TSP_HEADS), "args": argparse.Namespace(backbone=encoder.variant)}


def _slowfast(encoder: slowfast.Config) -> Content:
    """EPIC's weights for the R50, PyTorchVideo's for the R101."""
    if encoder.depth == 50:
        return state(lambda: slowfast_network.SlowFast(encoder, {"projection_verb": 97, "projection_noun": 300}))
    return {slowfast_network.pytorchvideo_name(name): tensor for name, tensor in state(encoder.network).items()}


def _dualformer(encoder: dualformer.Config) -> Content:
    """The authors' names, and a classifier of Kinetics-400."""
    named = state(lambda: encoder.network(num_classes=400))
    return {official_dualformer.published_name(name): tensor for name, tensor in named.items()}


def _tanet(encoder: tanet.Config) -> Content:
    """The official code's names."""
    return {f"module.{tanet.published_name(name)}": tensor for name, tensor in state(encoder.network).items()}


def _video_swin(encoder: video_swin.Config) -> Content:
    """The authors' names, and a classifier of Kinetics-400."""
    named = state(lambda: encoder.network(num_classes=400))
    return {video_swin.published_name(name): tensor for name, tensor in named.items()}


def _videomae(encoder: videomae.Config) -> Content:
    """VideoMAE's names, and a classifier of Kinetics-400; no published file has adapters."""
    return state(lambda: encoder.model_copy(update={"adapters": None}).network(num_classes=400))


def write(path: Path, make: Callable[[], Content]) -> None:
    """Writes the file unless it exists."""
    if path.exists():
        console.say(f"Kept {path}, which exists")
        return
    files.make_folder(path.parent)
    temporary = files.temporary_path(path)
    torch.save({**make(), MADE_UP: True}, temporary)
    files.replace(temporary, path)
    console.result(f"Wrote made-up weights: {path}, {path.stat().st_size / 1e6:.0f} MB")


def main() -> None:
    """Writes made-up weights for the encoders of recipes, to try every step before downloading real ones."""
    parser = argparse.ArgumentParser(prog="scripts/made_up_weights", description=main.__doc__)
    parser.add_argument(
        "given",
        nargs="+",
        metavar="RECIPE_OR_CONFIG|key=value",
        help="recipes or configs, and settings that apply to all of them",
    )
    given = parser.parse_args().given
    settings = [argument for argument in given if "=" in argument]
    try:
        loaded = [experiment.load(argument, settings) for argument in given if "=" not in argument]
        for one in loaded:
            for place, published, make in needed(one.features.encoder):
                write(place or FOLDER / published.name, make)
    except ActlocError as error:
        console.error(error)
        sys.exit(error.status)
    console.warn("features made with made-up weights mean nothing; download the real weights before using any")


if __name__ == "__main__":
    main()
