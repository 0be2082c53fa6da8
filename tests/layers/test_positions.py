import math

import torch

from actloc.layers.positions import PositionTable, sinusoid_table


def test_even_channels_are_sines_and_odd_ones_cosines() -> None:
    table = sinusoid_table(50, 6)[0]
    for channel in range(6):
        angle = 37 / 10000 ** (2 * (channel // 2) / 6)
        expected = math.sin(angle) if channel % 2 == 0 else math.cos(angle)
        assert abs(table[channel, 37].item() - expected) < 1e-6


def test_a_longer_video_gets_a_stretched_table_and_a_shorter_one_its_beginning() -> None:
    positions = PositionTable(16, 4)
    assert not positions.state_dict()
    table = sinusoid_table(16, 4)[0] / 2
    short, long = positions([16, 32], 20)
    torch.testing.assert_close(short[:, :16], table)
    assert (short[:, 16:] == 0).all()
    torch.testing.assert_close(long[:, 1], 0.75 * table[:, 0] + 0.25 * table[:, 1])  # ends not aligned
