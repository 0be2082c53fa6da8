"""The sizes that papers state of encoders, counted without weights files and without computing anything."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from actloc.commands.show_encoder import encoder_size
from actloc.encoders.base import EncoderConfig, ResizedFrames
from actloc.encoders.base_network import ClipEncoder
from actloc.settings import parts
from actloc.video.frame_transforms import FrameStep


@pytest.mark.parametrize(
    ("name", "settings", "frames", "shown"),
    [
        ("slowfast", {}, 32, (34.57, 65.71)),  # PySlowFast's model zoo: 34.57 M, 65.71 G, R50 at 256
        ("video_swin", {"size": "tiny"}, 32, (27.85, 87.76)),  # the paper's table: 28.2 M with the classifier, 88 G
        ("videomae2", {"size": "base"}, 16, (86.77, 180.35)),  # published for VideoMAE ViT-B: 87 M, 180 G
    ],
)
def test_published_sizes(name: str, settings: dict[str, Any], frames: int, shown: tuple[float, float]) -> None:
    config = parts.find("encoders", name).Config.model_validate(settings)
    size = encoder_size(config, frames)
    assert size is not None
    assert size.multiply_adds is not None
    assert (round(size.weights / 1e6, 2), round(size.multiply_adds / 1e9, 2)) == shown


class Own(ResizedFrames):
    def build(self) -> "Looking":
        return Looking(self)


class Looking(ClipEncoder):
    """Its features depend on values that are looked at in Python."""

    channels = 4

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.layer, self.head = nn.Linear(3, 4), nn.Linear(4, 9)

    def stages(self) -> list[list[nn.Module]]:
        return [[self.layer]]

    def encode(self, clips: Tensor) -> Tensor:
        colours = clips.to(self.dtype).mean((1, 2, 3))
        return self.layer(colours if colours.max().item() > 1 else -colours)[:, :, None]


def test_an_encoder_that_looks_at_values_has_weights_but_no_count() -> None:
    size = encoder_size(Own(name="own", short_side=90), 8)
    assert size is not None
    assert (size.weights, size.feature_weights, size.clip) == (16 + 45, 16, (8, 90, 160))
    assert size.multiply_adds is None
    assert str(size).startswith("0.00 million weights; its multiply-adds are not counted, because it looks at values")


class Small(FrameStep):
    def apply(self, frame: Any) -> Any:
        return frame[:20, :30]


def test_a_step_of_the_users_own_is_applied() -> None:
    class Cut(Own):
        def frame_steps(self) -> tuple[FrameStep, ...]:
            return (Small(),)

    size = encoder_size(Cut(name="cut", short_side=90), 2)
    assert size is not None
    assert size.clip == (2, 20, 30)
    assert torch.get_default_device().type != "meta"
