"""What a GPU computes is what the CPU computes: losses, gradients and detections of detectors, features of encoders."""

import pytest
import torch
from torch import Tensor, nn

from actloc.settings import parts
from tests.contracts.test_parts import TestDetector as Contract
from tests.contracts.test_parts import drawn, three_clips

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
DEVICE = torch.device("cuda")
WITH_FLOW = {"i3d"}  # whose small form computes TV-L1, which an extra brings


@pytest.mark.parametrize("name", parts.available("detectors"))
@pytest.mark.filterwarnings("ignore::UserWarning")  # kernels without a deterministic form, the kinds of TF32 settings
def test_losses_and_gradients_are_those_of_the_cpu(name: str) -> None:
    results = []
    for device in (torch.device("cpu"), DEVICE):
        detector = Contract().build(name).double().to(device).eval()  # without drop path and random samples
        features, mask = Contract().batch(detector.padded_steps(37))
        targets = [one.to(device) for one in Contract.TARGETS]
        with torch.backends.cudnn.flags(enabled=name != "etad"):  # it has no gradient of ETAD's LSTM in evaluation mode
            losses = detector.losses(features.double().to(device), mask.to(device), targets)
            torch.stack(list(losses.values())).sum().backward()
        results.append((losses, _gradients(detector)))
    (losses, gradients), (on_gpu, gradients_on_gpu) = results
    for loss, value in losses.items():
        assert on_gpu[loss].item() == pytest.approx(value.item(), rel=1e-6), loss
    assert gradients.keys() == gradients_on_gpu.keys()
    largest = max(one.abs().max().item() for one in gradients.values())
    for weight, gradient in gradients.items():
        torch.testing.assert_close(gradients_on_gpu[weight], gradient, rtol=1e-5, atol=1e-6 * largest, msg=weight)


def _gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: one.grad.cpu() for name, one in network.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("name", sorted(set(parts.available("encoders")) - WITH_FLOW))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_features_are_those_of_the_cpu(name: str) -> None:
    clips = three_clips(name)
    with torch.inference_mode():
        expected, found = (drawn(name).double().to(device).encode(clips.to(device)).cpu() for device in ("cpu", DEVICE))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * expected.abs().max().item())
