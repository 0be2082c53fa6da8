"""I3D whose flow comes from RAFT, with freshly drawn weights and one refinement."""

from pathlib import Path

import numpy as np
import pytest
import torch

from actloc import raft_flow
from actloc.encoders.i3d import I3D, Config
from actloc.errors import UserError
from actloc.extraction.local import recipe
from actloc.layers.raft import RAFT
from actloc.video.frame_transforms import OpticalFlow
from tests.clips import layout

FRAMES = np.random.RandomState(0).randint(0, 256, (3, 256, 300, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def encoder() -> I3D:
    torch.manual_seed(0)
    network = Config(stream="both", flow="raft", frames="viashin").network().eval()
    network.raft = RAFT(is_small=True, num_iterations=1).eval()
    return network


def test_decoding_computes_no_flow_where_raft_does(encoder: I3D) -> None:
    assert not any(isinstance(step, OpticalFlow) for step in encoder.config.frame_steps())
    assert any(isinstance(step, OpticalFlow) for step in Config(stream="both").frame_steps())


def test_raft_sees_whole_frames_and_its_flow_is_coded_and_cut_as_tvl1s(encoder: I3D) -> None:
    assert encoder.raft is not None
    items = list(encoder.frames(iter(FRAMES)))
    assert len(items) == 2
    flows = [flow for _, flow in raft_flow.with_flow(iter(FRAMES), encoder.raft)]
    for item, frame, flow in zip(items, FRAMES, flows, strict=False):
        assert item.dtype == np.uint8
        assert np.array_equal(item[..., :3], frame[16:240, 38:262])
        code = np.round(255 * (np.clip(flow, -20, 20).astype(np.float64) + 20) / 40)
        assert np.array_equal(item[..., 3:], code[16:240, 38:262])
    assert items[0][..., 3:].std() > 0


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
    made = recipe(encoder, layout(fps=25.0, clip_frames=16, stride_frames=4), "float32")
    assert made["encoder"]["flow"] == "raft"
    assert not [name for name in made["encoder"] if name.endswith("weights")]
