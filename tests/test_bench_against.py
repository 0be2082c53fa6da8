"""`scripts/bench against` on toys: both sides are measured, and nothing of the other commit stays."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.benchmarks.against", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def worktrees() -> set[str]:
    command = ["git", "worktree", "list", "--porcelain"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {line for line in listed.splitlines() if line.startswith("worktree ")}


@pytest.mark.slow
def test_both_sides_are_measured_and_the_other_commit_leaves_nothing(tmp_path: Path) -> None:
    output, before = tmp_path / "against.json", worktrees()
    done = bench("HEAD", "--toy", "--output", str(output))
    assert done.returncode == 0, done.stderr
    rows = json.loads(output.read_text())["rows"]
    assert len({(row["name"], row["threads"]) for row in rows}) == len(rows) == 9
    for row in rows:
        assert row["ratio"] == pytest.approx(row["now_s"] / row["before_s"])
        assert (row["now_gflop_per_s"] > 0) == (row["name"][:5] not in ("whole", "dense"))
        assert row["name"] in done.stdout
    assert worktrees() <= before


def test_wrong_names_and_commits_are_refused() -> None:
    for arguments in (("HEAD", "--only", "thumso"), ("no_such_commit",)):
        done = bench(*arguments)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
