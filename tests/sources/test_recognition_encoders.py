"""TANet and DualFormer make the same features for a store as in the steps of training, of a real video."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from actloc import experiment
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.encoders.base import EncoderConfig
from actloc.encoders.base_network import built, ready
from actloc.extraction.into_store import extract
from actloc.extraction.local import recipe
from actloc.settings.sections import MachineSettings
from actloc.signals import StopFlag
from actloc.sources.encoded import Config
from actloc.sources.encoded.source import EncodedSource
from actloc.sources.stored import Config as StoredConfig
from actloc.store.store import FeatureStore
from actloc.structures import Batch, Sample

VIDEO = AnnotatedVideo(
    "juggling_ball", "train", (Action(1.0, 2.0, "juggle"),), file=Path("data/sample/juggling_ball.mp4").absolute()
)
CPU = torch.device("cpu")
SMALL = {  # without stochastic depth, which is for training alone
    "tanet": ["features.encoder.short_side=40", "features.encoder.crop=32"],
    "dualformer": [
        "features.encoder={name: dualformer, frames: 16, side: 72, crop: 64, size: {dims: [8, 16, 24, 32], depths: "
        "[2, 1, 2, 2], heads: [1, 2, 3, 4], windows: [[2, 4, 4], [2, 4, 4], [2, 4, 4], [2, 2, 2]], fine: [[2, 4, 4], "
        "[2, 4, 4], [2, 2, 2], [2, 2, 2]], coarse: [[1, 2, 2], [1, 1, 1]]}, drop_path: 0, mode: MODE}",
    ],
}
RECIPES = {
    ("tanet", "token"): "tanet_8f",
    ("tanet", "clip"): "tanet_8f_clip",
    ("dualformer", "token"): "dualformer_t_15fps",
    ("dualformer", "clip"): "dualformer_t_clip",
}
CASES = pytest.mark.parametrize(("name", "mode"), list(RECIPES), ids=list(RECIPES.values()))


def with_weights(config: EncoderConfig, folder: Path) -> EncoderConfig:
    """The settings with a file of drawn weights, under the names that the authors gave them."""
    torch.manual_seed(0)
    network = config.network()
    path = folder / f"{config.name}.pth"
    torch.save(config.in_published_names(network.state_dict()), path)
    return config.model_copy(update={"weights": path})


@pytest.fixture
def stored(name: str, mode: str, tmp_path: Path) -> StoredConfig:
    """The features of the shipped recipe, with a small network; its store has those of the video."""
    overrides = [one.replace("MODE", mode) for one in SMALL[name]]
    features = experiment.load(f"configs/features/{RECIPES[name, mode]}.yaml", overrides).features
    assert isinstance(features, StoredConfig)
    assert features.encoder is not None
    encoder = with_weights(features.encoder, tmp_path)
    features = features.model_copy(update={"encoder": encoder, "path": tmp_path / "store"})
    store, network = FeatureStore(features.path), ready(built(encoder), CPU)
    store.begin(recipe(network, features.spacing, "float32"))
    machine = MachineSettings.model_validate({"decoders": 1})
    with StopFlag() as stop:
        failed = extract({VIDEO.id: VIDEO}, store, network, features.spacing, "float32", machine, stop)
    assert not failed
    return features


@contextmanager
def in_steps(stored: StoredConfig, **settings: Any) -> Iterator[EncodedSource]:
    """The same clips as a source of features that are made in every step."""
    spacing = {key: getattr(stored, key) for key in ("fps", "clip_frames", "frame_interval", "stride_frames", "align")}
    assert stored.encoder is not None
    encoder = stored.encoder.model_dump(mode="json")
    made = Config.model_validate({"encoder": encoder, "crop_ratio": None, "max_steps": 8, **spacing, **settings})
    live = made.live_encoder(CPU, MachineSettings(), "float32", None)
    try:
        yield made.build(Annotations(("juggle",), {VIDEO.id: VIDEO}), "train", live)
    finally:
        live.close()


def rows(source: EncodedSource, sample: Sample) -> Tensor:
    return source.features(Batch((sample,)), sample.num_steps, CPU)[0].detach()


@CASES
def test_rows_of_the_store_are_those_of_training_on_the_same_clips(stored: StoredConfig) -> None:
    kept = FeatureStore(stored.path).read(VIDEO.id)
    tolerance = 5e-6 * np.abs(kept).max()
    assert kept.std(0).max() > 50 * tolerance  # so that another place in time would be seen
    with in_steps(stored, chunk=2, window_steps=8) as source:
        whole, end = source.evaluation_sample(0), source.evaluation_samples(0)[-1]
        learning = source.training_sample(0, random.Random(0))
        assert end.first_step > 0
        for sample in (whole, end, learning):
            expected = torch.from_numpy(kept[sample.first_step : sample.first_step + sample.num_steps]).T
            torch.testing.assert_close(rows(source, sample), expected, rtol=0, atol=tolerance)
        of_stored = stored.build(Annotations(("juggle",), {VIDEO.id: VIDEO}), "train").evaluation_sample(0)
        assert whole.grid == of_stored.grid
        assert whole.num_steps == of_stored.num_steps == len(kept)
