import hashlib

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc.layers.raft import RAFT, SMALLEST_SIDE, correlation_bytes, correlation_levels
from tests.encoders.golden import FEATURES, TOLERANCE, error, filled, keys


def two_pictures() -> NDArray[np.float32]:
    """The fixtures' pair (2, 3, 128, 160): the second is the first, moved by 3 rows and 5 columns."""
    coarse = np.random.RandomState(30).randint(0, 256, (1, 3, 16, 20)).astype(np.float32)
    first = coarse.repeat(8, axis=2).repeat(8, axis=3)
    return np.concatenate([first, np.roll(first, (3, 5), (2, 3))])


def official(name: str, *, num_iterations: int = 4) -> RAFT:
    """The network with the fixtures' weights, under names without `module.`"""
    network = RAFT(is_small=name == "raft_small", num_iterations=num_iterations)
    network.load_state_dict(filled({key.removeprefix("module."): shape for key, shape in keys(name).items()}))
    return network.eval()


@pytest.fixture(scope="module")
def small() -> RAFT:
    return official("raft_small")


@pytest.mark.parametrize("name", ["raft_basic", "raft_small"])
def test_weights_have_the_official_names_shapes_and_order(name: str) -> None:
    with torch.device("meta"):
        network = RAFT(is_small=name == "raft_small")
    found = [(f"module.{key}", tuple(tensor.shape)) for key, tensor in network.state_dict().items()]
    assert found == list(keys(name).items())


def test_flow_of_the_small_network_equals_the_official_one(small: RAFT) -> None:
    pictures = two_pictures()
    recorded = np.load(FEATURES / "raft_small_128x160_it4.npz")
    for number, picture in enumerate(pictures, 1):
        assert hashlib.sha256(picture.tobytes()).digest() == recorded[f"image{number}_sha256"].tobytes()
    with torch.inference_mode():
        low, _ = small.coarse_flow(torch.from_numpy(pictures))
        up = small(torch.from_numpy(pictures))
    assert error(low, recorded["flow_low"]) < TOLERANCE
    assert error(up[..., ::4, ::4], recorded["flow_up"]) < TOLERANCE


def test_every_frame_but_the_last_has_its_flow_to_the_next(small: RAFT) -> None:
    first, second = torch.from_numpy(two_pictures())
    third = first.flip(1)
    with torch.inference_mode():
        together = small(torch.stack([first, second, third]))
        apart = [small(torch.stack(pair))[0] for pair in ((first, second), (second, third))]
    assert together.shape == (2, 2, 128, 160)
    for found, expected in zip(together, apart, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_other_sizes_are_padded_with_the_edge_and_cropped(small: RAFT) -> None:
    frames = torch.from_numpy(two_pictures())[:, :, 3:, :155]  # 125 x 155: 1 above, 2 below; 2 left, 3 right
    padded = torch.nn.functional.pad(frames, (2, 3, 1, 2), mode="replicate")
    with torch.inference_mode():
        assert torch.equal(small(frames), small(padded)[:, :, 1:126, 2:157])


@pytest.mark.parametrize("name", ["raft_basic", "raft_small"])
def test_the_smallest_frames_have_finite_flow(name: str) -> None:
    network = official(name, num_iterations=2)
    frames = 255 * torch.rand(2, 3, SMALLEST_SIDE, SMALLEST_SIDE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert network(frames).isfinite().all()
    with pytest.raises(AssertionError, match="too few"):
        network(frames[:, :, 1:])


def test_the_memory_of_correlations_is_known_in_advance() -> None:
    maps = torch.zeros(1, 8, 32, 43)  # of frames of 256 x 340
    levels: list[Tensor] = correlation_levels(maps, maps)
    taken = sum(4 * level.numel() for level in levels)
    assert correlation_bytes(256, 340) == pytest.approx(taken, rel=0.02)
