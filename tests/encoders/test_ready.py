"""What an encoder is made into before it runs."""

import pytest
import torch
from torch import Tensor

from actloc.encoders.base_network import ClipEncoder, ready
from actloc.encoders.color import Config as ColorConfig


class Kernels(ClipEncoder):
    """Convolutions of pictures and of clips."""

    channels = 8

    def __init__(self, config: ColorConfig) -> None:
        super().__init__(config)
        self.clips = torch.nn.Conv3d(3, 8, 3)
        self.pictures = torch.nn.Conv2d(8, 8, 3)

    def encode(self, clips: Tensor) -> Tensor:
        return self.pictures(self.clips(self.network_input(clips)).mean(2)).mean((2, 3))[:, :, None]


def test_float32_on_a_gpu_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    ready(ColorConfig(short_side=16).build(), torch.device("cpu"))
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("channels_last", [False, True])
def test_kernels_lie_in_memory_as_the_settings_say(channels_last: bool) -> None:
    torch.manual_seed(0)
    encoder = Kernels(ColorConfig(channels_last=channels_last)).train()
    clips = torch.randint(0, 256, (2, 4, 12, 12, 3), dtype=torch.uint8)
    before = encoder.encode(clips)
    ready(encoder, torch.device("cpu"))
    assert not encoder.training
    assert encoder.clips.weight.is_contiguous(memory_format=torch.channels_last_3d) == channels_last
    assert encoder.pictures.weight.is_contiguous(memory_format=torch.channels_last) == channels_last
    torch.testing.assert_close(encoder.encode(clips), before, rtol=1e-5, atol=1e-4)


class Pixelwise(ClipEncoder):
    """Convolutions of one pixel, which torch leaves to a slower kernel if there is one thread."""

    channels = 8

    def __init__(self, config: ColorConfig) -> None:
        super().__init__(config)
        self.clips = torch.nn.Conv3d(3, 8, (3, 1, 1), padding=(1, 0, 0))
        self.pictures = torch.nn.Conv2d(8, 8, 1)

    def encode(self, clips: Tensor) -> Tensor:
        return self.pictures(self.clips(self.network_input(clips)).mean(2)).mean((2, 3))[:, :, None]


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_one_thread_leaves_every_convolution_to_onednn() -> None:
    torch.manual_seed(0)
    encoder = Pixelwise(ColorConfig())
    clips = torch.randint(0, 256, (2, 4, 12, 12, 3), dtype=torch.uint8)  # torch gives it no small single ones
    before = encoder.encode(clips)
    ready(encoder, torch.device("cpu"))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        after = encoder.encode(clips)
    names = [event.name for event in profile.events() or ()]
    assert names.count("aten::mkldnn_convolution") == 2
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-4)
