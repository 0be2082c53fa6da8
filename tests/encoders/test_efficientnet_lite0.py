from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actloc.encoders import efficientnet_lite0
from actloc.encoders.base_network import built
from actloc.encoders.efficientnet_lite0 import Config
from actloc.encoders.efficientnet_lite0 import network as efficientnet_lite0_network
from actloc.encoders.efficientnet_lite0.network import EfficientNetLite0, SameConv
from actloc.errors import UserError
from actloc.settings.sections import MachineSettings
from actloc.video.reader import read_frames
from actloc.video.windows import ClipSpacing
from tests.extraction.in_memory import encode_video
from tests.videos import Clips, resized

MACHINE = MachineSettings(decoders=1)

DOGS, BALLS, CUPS_AND_JUGS = range(151, 269), (429, 522, 574, 722, 805, 852, 890), (438, 463, 504, 550, 725, 899, 968)


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite0:
    return Config().build()


def class_scores(encoder: EfficientNetLite0, clip: str) -> Tensor:
    """Probabilities (1000,) averaged over a clip's frames."""
    frames = list(read_frames(Path(f"data/sample/{clip}.mp4"), fps=1, steps=resized(256, 224)))
    with torch.inference_mode():
        vectors = encoder.frame_vectors(torch.from_numpy(np.stack(frames)))
        return encoder.logits(vectors[:, :, None]).softmax(1).mean(0)


def test_the_dog_is_a_dog_and_nothing_else_is(encoder: EfficientNetLite0) -> None:
    dogs = {
        clip: float(class_scores(encoder, clip)[list(DOGS)].sum()) for clip in ("playing_with_dog", "pouring_coffee")
    }
    assert dogs["playing_with_dog"] > 0.5
    assert dogs["pouring_coffee"] < 0.1


def test_the_ball_is_a_ball(encoder: EfficientNetLite0) -> None:
    scores = class_scores(encoder, "juggling_ball")
    assert int(scores.argmax()) in BALLS


def test_the_cups_are_vessels(encoder: EfficientNetLite0) -> None:
    best = class_scores(encoder, "shuffling_cups").topk(5).indices.tolist()
    assert set(best) & set(CUPS_AND_JUGS)


def test_folded_batch_norms_compute_what_they_did_apart(encoder: EfficientNetLite0) -> None:
    official = torch.load(efficientnet_lite0._weights_file(), weights_only=True)
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    padded = F.pad(x, (0, 1, 0, 1))  # SAME for 3 at stride 2 of an even size: one pixel, behind
    apart = nn.functional.batch_norm(
        F.conv2d(padded, official["_conv_stem.weight"], stride=2),
        official["_bn0.running_mean"],
        official["_bn0.running_var"],
        official["_bn0.weight"],
        official["_bn0.bias"],
        eps=1e-3,
    )
    torch.testing.assert_close(encoder.stem(x), apart, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padded"), [(224, 3, 2, (0, 1)), (7, 5, 2, (2, 2)), (8, 5, 2, (1, 2))]
)
def test_padding_is_tensorflows_same(size: int, kernel: int, stride: int, padded: tuple[int, int]) -> None:
    convolution = SameConv(1, 1, kernel, stride)
    x = torch.randn(1, 1, size, size)
    expected = F.conv2d(F.pad(x, padded * 2), convolution.weight, convolution.bias, stride=stride)
    torch.testing.assert_close(convolution(x), expected)
    assert expected.shape[-1] == -(-size // stride)


def test_the_whole_file_is_loaded_and_counted(encoder: EfficientNetLite0) -> None:
    official = torch.load(efficientnet_lite0._weights_file(), weights_only=True)
    assert len(official) == 296
    folded = efficientnet_lite0_network._folded(official)
    assert not official
    assert folded.keys() == encoder.state_dict().keys()
    assert encoder.weights_sha256 == efficientnet_lite0_network._SHA256


def test_another_file_is_refused(encoder: EfficientNetLite0, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"something else")
    with pytest.raises(UserError, match="is not the published file"):
        encoder.load_official(tmp_path / "x.pth")


def test_clips_average_their_frames(encoder: EfficientNetLite0) -> None:
    clips = torch.randint(0, 256, (2, 3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = encoder.encode(clips)
        vectors = encoder.frame_vectors(clips.flatten(0, 1))
    assert features.shape == (2, 1280, 1)
    torch.testing.assert_close(features[1, :, 0], vectors[3:].mean(0), atol=1e-5, rtol=1e-5)


def test_features_are_extracted_in_bfloat16_too(clips: Clips) -> None:
    found = {}
    for precision in ("float32", "bfloat16"):
        config = Config.model_validate({"precision": precision, "short_side": 32, "crop": 32})
        spacing = ClipSpacing(15.0, None, 4, 1, 4, "valid")
        found[precision] = torch.from_numpy(encode_video(clips["plain.mp4"], built(config), spacing, MACHINE)[0])
    assert torch.cosine_similarity(found["float32"], found["bfloat16"]).min() > 0.99
