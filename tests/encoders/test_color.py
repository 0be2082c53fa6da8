import pytest
import torch

from actloc.encoders.color import Config


def test_the_six_numbers_are_means_and_deviations_over_the_clip() -> None:
    clips = torch.randint(0, 256, (3, 4, 5, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = Config().build().encode(clips)
    pixels = clips.reshape(3, -1, 3).double() / 255
    expected = torch.cat([pixels.mean(1), pixels.std(1, unbiased=False)], dim=1)[:, :, None]
    torch.testing.assert_close(features, expected.float(), atol=1e-6, rtol=0)


def test_a_flat_clip_deviates_by_nothing() -> None:
    clips = torch.full((1, 16, 8, 8, 3), 77, dtype=torch.uint8)
    features = Config().build().encode(clips)[0, :, 0]
    assert features.tolist() == pytest.approx([77 / 255] * 3 + [0] * 3, abs=1e-7)


def test_a_crop_larger_than_the_short_side_is_refused() -> None:
    with pytest.raises(ValueError, match="crop 65 is larger than short_side 64"):
        Config(crop=65)
