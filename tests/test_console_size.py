"""Sizes in the unit that a person would choose."""

import pytest

from actloc.console import size


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1500, "2 kB"),
        (45_300_000, "45 MB"),
        (1.26e9, "1.3 GB"),
        (3.2e12, "3200.0 GB"),
    ],
)
def test_a_size_is_never_zero_of_a_unit(num_bytes: float, text: str) -> None:
    assert size(num_bytes) == text
