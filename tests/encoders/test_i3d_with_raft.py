"""I3D whose flow comes from RAFT, with freshly drawn weights and one refinement."""

from pathlib import Path

import numpy as np
import pytest
import torch

from actloc import raft_flow
from actloc.encoders.i3d import Config
from actloc.encoders.i3d.network import I3D
from actloc.errors import UserError
from actloc.extraction.local import recipe
from actloc.layers.raft import RAFT
from actloc.video.frame_transforms import OpticalFlow
from tests.clips import spacing

FRAMES = np.random.RandomState(0).randint(0, 256, (3, 256, 300, 3), dtype=np.uint8)


def with_raft(frames: str) -> I3D:
    torch.manual_seed(0)
    network = Config(stream="both", flow="raft", frames=frames).network().eval()
    network.raft = RAFT(is_small=True, num_iterations=1).eval()
    return network


@pytest.fixture(scope="module")
def encoder() -> I3D:
    return with_raft("viashin")


def test_decoding_computes_no_flow_where_raft_does(encoder: I3D) -> None:
    assert not any(isinstance(step, OpticalFlow) for step in encoder.config.frame_steps())
    assert any(isinstance(step, OpticalFlow) for step in Config(stream="both").frame_steps())


def bounded_flows(network: I3D, frames: np.ndarray) -> list[np.ndarray]:
    assert network.raft is not None
    return [np.clip(flow, -20, 20) for _, flow in raft_flow.with_flow(iter(frames), network.raft)]


def test_raft_sees_whole_frames_and_its_flow_is_coded_and_cut_as_tvl1s() -> None:
    network = with_raft("piergiaj")
    items = list(network.frames(iter(FRAMES)))
    assert len(items) == 2
    for item, frame, flow in zip(items, FRAMES, bounded_flows(network, FRAMES), strict=False):
        assert item.dtype == np.uint8
        assert np.array_equal(item[..., :3], frame[16:240, 38:262])
        code = np.round(255 * (flow.astype(np.float64) + 20) / 40)
        assert np.array_equal(item[..., 3:], code[16:240, 38:262])
    assert items[0][..., 3:].std() > 0


@pytest.mark.parametrize("size", [(256, 300), (256, 301), (256, 303), (455, 256), (257, 257)])
def test_video_features_cuts_the_centre_out_of_the_padded_flow(encoder: I3D, size: tuple[int, int]) -> None:
    frames = np.random.RandomState(1).randint(0, 256, (2, *size, 3), dtype=np.uint8)
    (item,) = encoder.frames(iter(frames))
    (flow,) = bounded_flows(encoder, frames)
    # RAFT pads to a multiple of 8, the smaller part in front; the centre of that is cut out without unpadding
    padding = [(-side % 8 // 2, -side % 8 - -side % 8 // 2) for side in size]
    padded = np.pad(flow, (*padding, (0, 0)), mode="edge")
    top, left = ((side - 224) // 2 for side in padded.shape[:2])
    code = np.round(np.float32(128) + np.float32(255 / 40) * padded[top : top + 224, left : left + 224])
    assert item.dtype == np.float32
    assert np.array_equal(item[..., 3:], code)
    top, left = ((side - 224) // 2 for side in size)
    assert np.array_equal(item[..., :3], frames[0, top : top + 224, left : left + 224])


def test_rgb_alone_needs_no_raft() -> None:
    with torch.device("meta"):
        network = Config(stream="rgb", flow="raft").network()
    assert network.raft is None
    frames = iter(FRAMES)
    assert network.frames(frames) is frames


def test_rafts_weights_belong_to_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config(stream="flow", flow="raft", flow_weights=tmp_path / "flow.pt")
    torch.save(config.network().streams["flow"].state_dict(), tmp_path / "flow.pt")
    with pytest.raises(UserError, match=r"(?s)raft-sintel\.pth.*encoder\.raft_weights=FILE"):
        config.build()
    Path("data/weights").mkdir(parents=True)
    digests = set()
    for seed in range(2):
        torch.manual_seed(seed)
        torch.save(RAFT(is_small=True).state_dict(), "data/weights/raft-sintel.pth")
        digests.add(config.build().weights_sha256)
    assert len(digests) == 2


def test_the_recipe_says_whose_flow_it_is_and_not_where_files_lie(encoder: I3D) -> None:
    made = recipe(encoder, spacing(fps=25.0, clip_frames=16, stride_frames=4), "float32")
    assert made["encoder"]["flow"] == "raft"
    assert not [name for name in made["encoder"] if name.endswith("weights")]
