from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc import raft_flow
from actloc.errors import UserError, VideoError
from actloc.layers.raft import RAFT
from tests.encoders.golden import FEATURES, TOLERANCE, error, filled, keys
from tests.layers.test_raft import two_pictures


class Differences(RAFT):
    """A network in RAFT's place whose flow is known: by how much the red and the green of a pixel grow."""

    def __init__(self) -> None:
        super().__init__(is_small=True)
        self.calls: list[int] = []

    def forward(self, frames: Tensor) -> Tensor:
        self.calls.append(len(frames) - 1)
        return (frames[1:] - frames[:-1])[:, :2]


def numbered(count: int, height: int = 64, width: int = 72) -> list[NDArray[np.uint8]]:
    """Frames of one colour: red counts them, green counts twice."""
    return [np.full((height, width, 3), (number, 2 * number, 0), np.uint8) for number in range(count)]


@pytest.mark.parametrize("name", ["raft_basic", "raft_small"])
def test_an_official_file_loads_whichever_of_the_two_networks_it_is_for(name: str, tmp_path: Path) -> None:
    weights = filled(keys(name))
    torch.save(weights, tmp_path / "raft.pth")
    network = raft_flow.read(tmp_path / "raft.pth")
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    assert torch.equal(network.update_block.encoder.convc1.weight, weights["module.update_block.encoder.convc1.weight"])


def test_torchvisions_names_are_understood_and_give_torchvisions_flow(tmp_path: Path) -> None:
    torch.save(filled(keys("raft_large_torchvision")), tmp_path / "raft_large.pth")
    network = raft_flow.read(tmp_path / "raft_large.pth")
    network.num_iterations = 4
    with torch.inference_mode():
        flow = network(torch.from_numpy(two_pictures()))
    recorded = np.load(FEATURES / "raft_large_torchvision_128x160_it4.npz")
    assert error(flow[..., ::4, ::4], recorded["flow_up"]) < TOLERANCE


def test_a_file_for_another_network_is_refused(tmp_path: Path) -> None:
    weights = filled(keys("raft_small"))
    del weights["module.cnet.conv1.bias"]
    torch.save(weights | {"extra": torch.ones(1)}, tmp_path / "raft.pth")
    with pytest.raises(UserError) as raised:
        raft_flow.read(tmp_path / "raft.pth")
    assert "cnet.conv1.bias is missing" in raised.value.found
    assert "extra is unexpected" in raised.value.found


def test_every_pair_is_computed_once_and_the_last_frame_has_none() -> None:
    network, frames = Differences(), numbered(40)
    found = list(raft_flow.with_flow(iter(frames), network))
    assert len(found) == sum(network.calls) == 39
    for number, (frame, flow) in enumerate(found):
        assert frame is frames[number]
        assert flow.shape == (64, 72, 2)
        assert (flow == (1, 2)).all()


def test_few_frames_are_read_ahead_and_fewer_the_larger_they_are() -> None:
    def read_before_the_first(height: int, width: int) -> int:
        taken = 0

        def counted() -> Iterator[NDArray[np.uint8]]:
            nonlocal taken
            for frame in numbered(50, height, width):
                taken += 1
                yield frame

        next(raft_flow.with_flow(counted(), Differences()))
        return taken

    assert read_before_the_first(256, 340) == 10
    assert read_before_the_first(1080, 1920) == 2


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_pair_there_is_nothing(count: int) -> None:
    assert list(raft_flow.with_flow(iter(numbered(count)), Differences())) == []


def test_frames_that_are_too_small_cost_their_video_and_no_more() -> None:
    with pytest.raises(VideoError, match="too small for RAFT"):
        next(raft_flow.with_flow(iter(numbered(3, 64, 60)), Differences()))
