"""`scripts/bench suggest`: what is labelled for a budget, how long runs are, and what a second call repeats."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from actloc.annotations.annotated_time import problems_of
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from scripts.benchmarks import suggest
from scripts.benchmarks.suggest import Bench, Data, labelled_truth, num_seconds, random_windows, revealed, schedule
from scripts.benchmarks.suggest_calls import CallError, Calls
from scripts.benchmarks.suggest_table import Row, show

LENGTH_S = 100.0
ACTIONS = (Action(5.0, 25.0, "a"), Action(20.0, 33.0, "b"), Action(60.0, 70.0, "a"))


def truth(num_training: int = 8) -> Annotations:
    names = [*(f"train_{number}" for number in range(num_training)), "test_0"]
    videos = {name: AnnotatedVideo(name, name.partition("_")[0], ACTIONS, LENGTH_S) for name in names}
    return Annotations(("a", "b"), videos)


TRAINING = sorted(truth().of_subset("train"), key=lambda video: video.id)


def test_random_windows_cover_what_is_not_labelled_once() -> None:
    labelled = suggest.start(TRAINING, 2, 0)
    assert num_seconds(labelled) == 2 * LENGTH_S
    windows = random_windows(TRAINING, labelled, 30.0, 0)
    assert windows != sorted(windows)
    for video in TRAINING:
        spans = sorted(span for name, span in windows if name == video.id)
        assert bool(spans) == (video.id not in labelled)
        assert all(0 < end - start <= 30.0 + 1e-9 for start, end in spans)
        ends = [time for span in spans for time in span]
        assert ends[1:-1:2] == ends[2::2]
        assert not ends or (ends[0], ends[-1]) == (0.0, LENGTH_S)
    assert windows == random_windows(TRAINING, labelled, 30.0, 0) != random_windows(TRAINING, labelled, 30.0, 1)


def test_windows_are_labelled_in_their_order_until_the_budget_and_actions_to_their_ends() -> None:
    windows = [("train_1", (22.0, 24.0)), ("train_2", (40.0, 50.0)), ("train_3", (0.0, 90.0))]
    found = revealed(TRAINING, {"train_0": ((0.0, LENGTH_S),)}, windows, LENGTH_S + 35.0)
    # the window is in two actions that overlap
    assert found == {"train_0": ((0.0, LENGTH_S),), "train_1": ((5.0, 33.0),), "train_2": ((40.0, 50.0),)}
    labelled = labelled_truth(truth(), found).videos
    assert (labelled["train_0"].actions, labelled["train_0"].annotated) == (ACTIONS, ())
    assert (labelled["train_1"].actions, labelled["train_1"].annotated) == (ACTIONS[:2], ((5.0, 33.0),))
    assert (labelled["train_2"].actions, labelled["train_2"].annotated) == ((), ((40.0, 50.0),))
    assert labelled["train_3"] == AnnotatedVideo("train_3", "unlabelled", (), LENGTH_S)
    assert labelled["test_0"] == truth().videos["test_0"]
    assert not [problem for video in labelled.values() for problem in problems_of(video, "")]


@pytest.mark.parametrize("num_recordings", [2, 3, 9, 26, 42])
def test_runs_of_any_number_of_recordings_take_about_as_many_steps(num_recordings: int) -> None:
    epochs, warm_up = schedule(num_recordings, 525)
    assert (epochs + warm_up) * -(-num_recordings // 2) == pytest.approx(525, rel=0.03)
    assert warm_up == pytest.approx((epochs + warm_up) / 5, abs=0.51)


class FakeCalls(Calls):
    """Writes what the commands would; the first suggestion of seed 1 fails."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: Counter[str] = Counter()

    def actloc(self, log: Path, *arguments: str) -> None:
        self.commands[arguments[0]] += 1
        settings = dict(one.split("=", 1) for one in arguments if "=" in one)
        if arguments[0] == "suggest":
            if "seed_1" in log.parts:
                raise CallError("no windows")
            output = Path(arguments[-1])
            output.mkdir(parents=True)
            rows = [f"train_{number},{start}.000,{start + 10}.000,why" for number in range(8) for start in (30, 80)]
            (output / "suggested.csv").write_text("\n".join(["video,start_s,end_s,reason", *rows]))
        if arguments[0] == "eval":
            results = Path(settings["run.folder"]) / settings["run.name"] / "eval/test"
            results.mkdir(parents=True)
            (results / "metrics.json").write_text("")


def test_a_part_that_fails_stops_no_other_and_what_is_finished_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("actloc.evaluation.results_files.read_results", lambda folder: SimpleNamespace(average_map=0.5))
    data = Data("hapt", "hapt_imu_actionformer", (2, 3), 10.0, 8, "dataset.raw")
    options = SimpleNamespace(processes=2)
    for expected in ({"train": 7, "eval": 7, "suggest": 2}, {"suggest": 1}):
        calls = FakeCalls()
        bench = Bench(data, tmp_path, [], truth(), calls)
        works = [work for kind in (bench.chains, bench.single_runs) for work in kind([0, 1], lambda: None)]
        assert suggest._run(works, options, calls) == ["no windows"]  # type: ignore[arg-type]
        assert calls.commands == expected
        ways = Counter(row.way for row in bench.rows)
        assert ways == {"start": 2, "random": 2, "all": 2, "suggest": 1}
    for row in bench.rows:
        assert row.labelled_s == {"start": 200, "all": 800}.get(row.way, pytest.approx(300, abs=40))
    database = json.loads((tmp_path / "seed_0/suggest_3_annotations/annotations.json").read_text())["database"]
    assert Counter(video["subset"] for video in database.values()).keys() == {"train", "test", "unlabelled"}
    show(bench.title, bench.sorted_rows())
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[-3:]] == ["2", "3", "8"]


def test_the_difference_is_of_seeds_that_both_ways_have(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row("random", 4, 0, 40.0, 3, 9, 50.0), Row("random", 4, 1, 40.0, 3, 9, 70.0)]
    show("title", [*rows, Row("suggest", 4, 1, 42.0, 3, 9, 73.5)])
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last == ["4", "40", "60.00", "50.00", "70.00", "42", "73.50", "73.50", "+3.50"]


def test_a_command_that_fails_is_quoted_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="exit status 2") as raised, Calls() as calls:
        calls.actloc(tmp_path / "logs/one.log", "trian")
    assert "no command trian" in str(raised.value)
