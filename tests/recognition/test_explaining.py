import numpy as np
import pytest
import torch
from torch import Tensor, nn

from actloc.encoders.dualformer.network import DualFormer
from actloc.encoders.tanet import Config as TANetConfig
from actloc.errors import UserError
from actloc.layers.grad_cam import heat
from actloc.recognition.explaining import explain_views, explanation_of
from tests.encoders.test_dualformer import MINI, TOKENS_TOLERANCE, assert_summary, clips_of, official, recorded


@pytest.fixture(scope="module")
def mini() -> DualFormer:
    return official(MINI, "mini_16f_96px")


@pytest.fixture(scope="module")
def views() -> Tensor:
    """The recorded clips (2, 16, 96, 96, 3), whose pixels are scaled already."""
    arrays = {**recorded("gradcam_mini_last"), "clip_shape_BTCHW": np.array([2, 16, 3, 96, 96])}
    return clips_of(arrays).permute(0, 2, 3, 4, 1)


def logits_of(network: DualFormer, views: Tensor) -> Tensor:
    return network.logits(network.tokens(views.permute(0, 4, 1, 2, 3)).mean((2, 3)).mT)


@pytest.mark.parametrize("chunk", [1, 2])
def test_the_map_of_two_views_is_the_recorded_one(mini: DualFormer, views: Tensor, chunk: int) -> None:
    arrays = recorded("gradcam_mini_last")
    found = explain_views(mini, lambda part: logits_of(mini, part), views, layer="blocks.3.1", chunk=chunk)
    probabilities = arrays["probs"][0]
    assert found.label == probabilities.argmax()
    assert found.probability == pytest.approx(probabilities.max(), abs=TOKENS_TOLERANCE)
    assert_summary(heat(found.maps), arrays, "map", TOKENS_TOLERANCE)
    assert all(weight.grad is None for weight in mini.parameters())


def test_another_class_has_another_map_and_the_last_layer_is_the_default(mini: DualFormer, views: Tensor) -> None:
    best, other, inner = (
        explain_views(mini, lambda part: logits_of(mini, part), views, label, layer)
        for label, layer in ((None, None), (0, None), (None, "blocks.2.0"))
    )
    assert best.layer == "blocks.3.1"
    assert other.label == 0
    assert other.probability < best.probability == inner.probability
    for one in (other, inner):
        assert one.maps.shape == best.maps.shape == (2, 16, 96, 96)
        assert not torch.allclose(heat(one.maps), heat(best.maps), atol=0.05)


def test_an_unknown_layer_is_answered_with_those_there_are(mini: DualFormer, views: Tensor) -> None:
    with pytest.raises(UserError) as refused:
        explain_views(mini, lambda part: logits_of(mini, part), views, layer="blocks.4.0")
    assert "has no layer blocks.4.0" in refused.value.found
    assert "blocks.3.1" in refused.value.expected
    assert "--layer" in refused.value.fix


class Recogniser(nn.Module):
    """TANet and a classifier of its frames, whose scores are averaged."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = TANetConfig.small().network().eval()
        self.classifier = nn.Linear(self.encoder.channels, 2).eval()

    def forward(self, clips: Tensor) -> Tensor:
        return self.classifier(self.encoder.encode(clips).mT).mean(1)


def test_a_recogniser_of_frames_is_explained_frame_by_frame_and_drawn() -> None:
    recogniser = Recogniser()
    clips = torch.randint(0, 256, (3, 8, 64, 64, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    found = explain_views(recogniser.encoder, recogniser, clips, label=1, chunk=2)
    assert found.layer == "layer4.2"
    assert found.maps.shape == (3, 8, 64, 64)
    with torch.inference_mode():
        assert found.probability == pytest.approx(recogniser(clips).softmax(1).mean(0)[1].item(), rel=1e-5)
    times = np.arange(24.0).reshape(3, 8) / 4
    drawn = explanation_of(found, "waving", clips, times)
    assert drawn.pictures.shape == (24, 64, 64, 3)
    assert np.array_equal(drawn.pictures[9], clips[1, 1].numpy())
    assert drawn.heat.shape == (24, 64, 64)
    assert drawn.heat.min() == 0
    assert [float(one.max()) for one in drawn.heat.reshape(3, -1)] == pytest.approx([1, 1, 1])
    assert len(drawn.curves) == 3
    assert drawn.title == f"waving, probability {found.probability:.3g}"
