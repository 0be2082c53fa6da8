import json

import pytest
import torch

from actloc.ops.candidates import all_candidates, block_rows, grid_rows, random_rows
from tests.golden.cases import GOLDEN

FACTS = json.loads((GOLDEN / "etad" / "anchor_map.json").read_text())


def test_candidates_and_samples_are_as_many_and_in_the_order_of_the_official_ones() -> None:
    candidates = all_candidates(FACTS["tscale"], FACTS["dscale"])
    assert len(candidates) == FACTS["n_valid"]
    official = [[start, start + length + 1] for length in range(128) for start in range(128) if start + length < 128]
    assert candidates.tolist() == official
    assert len(random_rows(len(candidates), 0.06, torch.Generator())) == FACTS["n_sampled"]
    chosen = candidates[grid_rows(candidates, 0.06)]
    assert len(chosen) == FACTS["n_grid"]
    pairs = torch.stack((chosen.diff(dim=1)[:, 0] - 1, chosen[:, 0]), dim=1)  # length - 1 and start
    assert pairs[:6].tolist() == FACTS["first_grid"]


def test_a_random_sample_has_each_candidate_at_most_once_and_reaches_all() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = [random_rows(100, 0.2, generator) for _ in range(100)]
    assert all(len(rows.unique()) == 20 for rows in samples)
    assert len(torch.cat(samples).unique()) == 100


@pytest.mark.parametrize("longest", [5, 32])
def test_a_block_is_a_square_of_neighbours(longest: int) -> None:
    candidates, generator = all_candidates(32, longest), torch.Generator().manual_seed(0)
    corners = set()
    for _ in range(100):
        chosen = candidates[block_rows(candidates, 0.06, generator)]
        starts, lengths = chosen[:, 0], chosen.diff(dim=1)[:, 0]
        side = len(starts.unique())
        assert len(chosen) == side**2 == len(lengths.unique()) ** 2
        assert starts.max() - starts.min() == lengths.max() - lengths.min() == side - 1
        corners.add((int(starts.min()), int(lengths.min())))
    assert len(corners) > 20


@pytest.mark.parametrize("num_steps", [1, 2, 3, 5])
def test_the_shortest_sequences_give_at_least_one_candidate(num_steps: int) -> None:
    candidates, generator = all_candidates(num_steps, num_steps), torch.Generator().manual_seed(0)
    for share in (0.01, 1.0):
        assert len(grid_rows(candidates, share)) >= 1
        assert len(block_rows(candidates, share, generator)) >= 1
        assert len(random_rows(len(candidates), share, generator)) >= 1
