"""`scripts/bench growth` and `scale`: real commands on data of two sizes, and the arithmetic of what follows."""

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.benchmarks import growth, scale
from scripts.benchmarks.growth import EVAL_FILE, PREPARE, Cost, Row
from scripts.benchmarks.scale import Costs, Run, Work, expected, fitted


def test_commands_are_measured_on_made_up_data(tmp_path: Path) -> None:
    whole = next(one for one in growth.chains(tmp_path, 0.001) if one.name == "actions")
    few = replace(whole, sizes=whole.sizes[:1], commands=(PREPARE, EVAL_FILE))
    rows = growth.measured(few, tmp_path, lambda _: None, most_runs=1)
    assert [row.name for row in rows] == ["prepare", "eval of a file"]
    assert all(cost.processor_s > 0.1 and cost.memory_mb > 20 for row in rows for cost in (row.start, *row.costs))
    metrics = tmp_path / f"actions_{few.sizes[0]:g}" / "ckpt/file/eval/test-file/metrics.json"
    assert metrics.is_file()
    assert "eval of a file" in growth.table(rows)


def test_the_exponent_is_that_of_the_work_beyond_the_start_up() -> None:
    sizes = 11.0, 101.0, 1001.0
    for power in (1.0, 2.0):
        costs = tuple(Cost(3.0 + 1e-2 * (size - 1) ** power, 100.0) for size in sizes)
        row = Row("eval", "videos", sizes, costs, 1.0, Cost(3.0, 100.0))
        assert row.exponent == pytest.approx(power)
    lost = tuple(Cost(3.0 + 1e-5 * size, 100.0) for size in sizes)
    assert Row("eval", "videos", sizes, lost, 1.0, Cost(3.0, 100.0)).exponent is None
    assert "| - |" in growth.table([Row("eval", "videos", sizes, lost, 1.0, Cost(3.0, 100.0))])


def runs_of(costs: dict[str, Costs]) -> list[Run]:
    def seconds(cost: Costs, work: Work) -> float:
        return cost.start_s + cost.worker_s * work.workers + cost.of(work.videos, work.videos * work.seconds)

    return [Run(work, {role: seconds(cost, work) for role, cost in costs.items()}, 1.0) for work in scale.WORKS]


def test_costs_are_fitted_and_what_does_not_scale_is_named() -> None:
    costs = {"command": Costs(5, 0, 0.01, 0), "workers": Costs(0, 3, 0.5, 0.15), "ray": Costs(4, 1, 0.1, 0)}
    runs = runs_of(costs)
    found = {role: fitted(runs, role) for role in costs}
    for role, cost in costs.items():
        assert list(vars(found[role]).values()) == pytest.approx(list(vars(cost).values()), abs=1e-9)
    one, many = expected(found, 1), expected(found, 100_000)
    assert one.workers_s == pytest.approx((0.6 * 10_000 + 0.15 * 3_600_000) / 16)
    assert (one.limit, many.limit) == ("workers", "the command's own process")
    assert one.total_s == pytest.approx(one.start_s + one.workers_s + one.last_video_s)
    assert "Extrapolated, not measured" in scale.table({"predict": runs})
    too_short = runs_of({**costs, "workers": Costs(9, 3, 0.5, 0)})  # videos of which nothing can be said by the hour
    assert f"| `predict` | {' | '.join(7 * '-')} |" in scale.table({"predict": too_short})
