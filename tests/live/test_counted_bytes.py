"""Bytes that are saved for the backward pass, and bytes that are alive."""

import copy

import pytest
import torch

from actloc.encoders import videomae2
from actloc.encoders.base_network import ClipEncoder
from actloc.end_to_end.encoder_memory import Encoding, encoder_bytes
from actloc.end_to_end.memory import LiveBytes, SavedBytes
from tests.live.windows import live

MB = 2**20


@pytest.fixture(scope="module")
def small_vit() -> ClipEncoder:
    encoder = videomae2.Config(size="small").network().eval()
    encoder.set_trainable("all")
    return encoder


def saved_mb(encoder: ClipEncoder, clips: int) -> float:
    with SavedBytes([*encoder.parameters(), *encoder.buffers()]) as saved:
        encoder.encode(torch.zeros(clips, 16, 112, 112, 3, dtype=torch.uint8)).sum().backward()  # type: ignore[no-untyped-call]
    return saved.peak / MB


def test_saved_bytes_are_those_measured_for_the_published_regimes(small_vit: ClipEncoder) -> None:
    encoder = copy.deepcopy(small_vit)
    assert saved_mb(encoder, 1) == pytest.approx(7215 / 64, rel=0.01)
    for _ in range(2):  # twice is as good as once
        encoder.recompute_blocks()
    assert saved_mb(encoder, 1) == pytest.approx(1140 / 64, rel=0.01)
    encoder.recompute_blocks(False)
    assert saved_mb(encoder, 1) == pytest.approx(7215 / 64, rel=0.01)


def test_activations_measured_without_values_are_those_that_are_saved(small_vit: ClipEncoder) -> None:
    encoding = Encoding((16, 112, 112, 3), torch.uint8, learning=64, others=0, chunk=4)
    direct = encoder_bytes(live(small_vit), encoding, has_gradients=False)
    assert direct.held / MB == pytest.approx(7215, rel=0.01)
    replay = encoder_bytes(live(small_vit, route="replay"), encoding, has_gradients=False)
    assert replay.held == 0
    assert replay.activations / MB == pytest.approx(451, rel=0.05)
    keeping = encoder_bytes(live(small_vit, route="replay", kept_chunks=2), encoding, has_gradients=False)
    assert keeping.held / MB == pytest.approx(2 * 451, rel=0.01)
    assert keeping.activations / MB == pytest.approx(2 * 451, rel=0.05)
    weights = sum(one.nbytes for one in small_vit.parameters())  # whose gradients are not there yet
    assert keeping.backward - replay.backward == pytest.approx(451 * MB - weights, rel=0.02)


def test_live_bytes_count_each_storage_once_and_keep_none() -> None:
    weight = torch.zeros(100)
    with LiveBytes([weight, weight[:10]]) as counted:
        assert counted.now == 400
        made = torch.ones(50)
        view = made[:5]
        assert counted.now == 600
        del made
        assert counted.now == 600
        del view
        assert counted.now == 400
        counted.restart()
        assert counted.peak == 400
        torch.ones(25)
        assert (counted.now, counted.peak) == (400, 500)
    del weight
    assert counted.now == 0
