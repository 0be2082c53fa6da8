"""Parts of the user's own at work: the examples of configs/README.md, their errors, the processes they run in."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

import actloc as package
from actloc.files import sha256_of_file
from actloc.settings import own_code
from actloc.store.store import FeatureStore
from actloc.tasks.base import TaskConfig
from tests.end_to_end.test_several_processes import stderr_of_all, together
from tests.toy import SCENES, actloc, copy_toy, digests, run_afresh

PAGE = Path("configs/README.md").resolve()


def section() -> str:
    text = PAGE.read_text()
    return text[text.index("## Your own detector, encoder or dataset") :]


def write_examples(folder: Path) -> None:
    """The files that the page shows, under the names it gives them."""
    shown = re.findall(r"`([\w/]+\.(?:py|yaml))`[^`\n]*:\n\n```\w+\n(.*?)```", section(), re.DOTALL)
    assert len(shown) == 5
    for name, content in shown:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)


def commands() -> list[str]:
    block = re.search(r"```sh\n(.*?)```", section(), re.DOTALL)
    assert block
    return block[1].splitlines()


@pytest.fixture(scope="module")
def own(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of the page have run, with a schedule of one epoch."""
    folder = tmp_path_factory.mktemp("own") / "own"
    shutil.copytree(toy / "videos", folder / "my_videos")
    shutil.copy(toy / "videos/v2.mp4", folder / "new_video.mp4")
    for name, scene in SCENES.items():
        lines = "".join(f"{start}\t{end}\t{label}\n" for label, start, end in scene)
        (folder / f"my_videos/{name}.txt").write_text(lines)
    write_examples(folder)
    for line in commands():
        done = actloc(folder, *shlex.split(line)[1:])
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        if "--code" in line and "Next: actloc " in done.stderr:
            following = done.stderr.rpartition("Next: ")[2].split()
            assert following[1] == "report" or "--code" in following, done.stderr
    return folder


def test_the_examples_of_the_page_run_as_they_are_printed(own: Path) -> None:
    assert [line.split()[1] for line in commands()] == [
        *("prepare", "extract-features", "train", "eval", "report", "predict", "ls")
    ]
    results = json.loads((own / "ckpt/my_experiment/eval/test/metrics.json").read_text())
    assert results["average_map"] > 0.5
    detector = "my_parts/one_layer.py"
    assert results["code"][detector] == sha256_of_file(own / detector)
    page = (own / "ckpt/my_experiment/report.html").read_text()
    assert detector in page
    assert re.search(r"^actloc eval my_experiment\.yaml .*--code my_parts$", page, re.MULTILINE)
    assert json.loads((own / "predictions/predictions.json").read_text())["results"]["new_video"]


def test_a_run_records_the_files_it_was_trained_with(own: Path) -> None:
    record = json.loads((own / "ckpt/my_experiment/environment.json").read_text())
    assert [entry["path"] for entry in record["code"]] == [
        *("my_parts/audacity_labels.py", "my_parts/colour_fields.py", "my_parts/one_layer.py")
    ]
    assert all(entry["sha256"] == sha256_of_file(own / entry["path"]) for entry in record["code"])
    assert all(entry["given"] == "my_parts" for entry in record["code"])


def test_a_run_says_which_code_it_needs(own: Path) -> None:
    for command in (("eval", "ckpt/my_experiment"), ("predict", "ckpt/my_experiment", "new_video.mp4")):
        done = actloc(own, *command)
        assert done.returncode == 2
        assert "add --code my_parts" in done.stderr
        sha256 = sha256_of_file(own / "my_parts/one_layer.py")
        assert f"my_parts/one_layer.py with sha256 {sha256}" in "".join(done.stderr.split("\n"))
    known = actloc(own, "eval", "ckpt/my_experiment", ACTLOC_CODE="my_parts")
    assert known.returncode == 0, known.stderr


def test_a_run_does_not_go_on_with_changed_code_unless_that_is_wanted(own: Path, tmp_path: Path) -> None:
    folder = copy_toy(own, tmp_path / "own")
    run = folder / "ckpt/my_experiment"
    (run / "finished.json").unlink()
    shutil.rmtree(max(run.glob("ckpt_*")))  # as if it had been stopped an epoch before its end
    train = ("train", "my_experiment.yaml", "--code", "my_parts")
    before = json.loads((run / "environment.json").read_text())
    with (folder / "my_parts/one_layer.py").open("a") as file:
        file.write("\n# another line\n")
    refused = actloc(folder, *train)
    assert refused.returncode == 2
    assert "trained with other code:\n  one_layer.py: sha256" in refused.stderr
    assert json.loads((run / "environment.json").read_text()) == before
    warned = actloc(folder, "eval", str(run.relative_to(folder)), "--code", "my_parts")
    assert warned.returncode == 0, warned.stderr
    assert "Warning: ckpt/my_experiment was trained with other code" in warned.stderr
    resumed = actloc(folder, *train, "--allow-changed-code")
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming after step" in resumed.stderr
    after = json.loads((run / "environment.json").read_text())
    assert after["earlier_code"] == [before["code"]]
    assert after["code"] != before["code"]


def test_a_store_does_not_go_on_with_changed_code_unless_that_is_wanted(own: Path, tmp_path: Path) -> None:
    folder = copy_toy(own, tmp_path / "own")
    extract = ("extract-features", "my_experiment.yaml", "--code", "my_parts")
    with (folder / "my_parts/one_layer.py").open("a") as file:
        file.write("\n# nothing to the encoder\n")
    assert "already complete" in actloc(folder, *extract).stdout
    with (folder / "my_parts/colour_fields.py").open("a") as file:
        file.write("\n# another line\n")
    (folder / "data/mine/features/v0.h5").unlink()
    refused = actloc(folder, *extract)
    assert refused.returncode == 2
    assert "code.colour_fields.py" in refused.stderr
    assert "--allow-changed-code" in refused.stderr
    done = actloc(folder, *extract, "--allow-changed-code")
    assert done.returncode == 0, done.stderr
    assert digests(folder / "data/mine/features") != digests(own / "data/mine/features")


def test_a_mistake_in_training_is_shown_with_its_line_and_corrected_without_loss(own: Path, tmp_path: Path) -> None:
    folder = copy_toy(own, tmp_path / "own")
    file = folder / "my_parts/one_layer.py"
    good = file.read_text()
    bad = good.replace("inside = (start <= steps)", "inside = (begin <= steps)")
    train = ("train", "my_experiment.yaml", "--code", "my_parts", "run.name=new", "schedule.epochs=1")
    file.write_text(bad)
    line = bad.splitlines().index("                inside = (begin <= steps) & (steps <= end)") + 1
    done = actloc(folder, *train)
    assert done.returncode == 2
    assert f"my_parts/one_layer.py:{line}: in forward: NameError: name 'begin' is not defined" in done.stderr
    assert "bug in actloc" not in done.stderr
    file.write_text(good)
    again = actloc(folder, *train)
    assert again.returncode == 0, again.stderr


STEP = """\
import sys

from actloc.video.frame_transforms import FrameStep


class Negative(FrameStep):
    def apply(self, frame):
        if "torch" in sys.modules:
            raise RuntimeError("a decoding process starts slowly with torch")
        return 255 - frame
"""


def with_own_step(own: Path, folder: Path, step: str = STEP) -> Path:
    """The encoder of the page with a frame step in a file next to it."""
    copy_toy(own, folder)
    (folder / "my_parts/negative.py").write_text(step)
    path = folder / "my_parts/colour_fields.py"
    text = path.read_text().replace(
        "from torch import Tensor\n", "from torch import Tensor\n\nfrom negative import Negative\n"
    )
    method = "    def frame_steps(self):\n        return (*super().frame_steps(), Negative())\n\n    def build("
    path.write_text(text.replace("    def build(", method))
    return folder


def extract(*more: str) -> tuple[str, ...]:
    return ("extract-features", "my_experiment.yaml", "--code", "my_parts", "features.path=new", *more)


def check_negative(folder: Path) -> None:
    for name in SCENES:
        plain, negative = (FeatureStore(folder / store).read(name) for store in ("data/mine/features", "new"))
        assert abs(plain + negative - 1).max() < 1e-3  # a grey level is 4e-3


def test_decoding_processes_run_a_step_of_the_users_own(own: Path, tmp_path: Path) -> None:
    folder = with_own_step(own, tmp_path / "own")
    done = run_afresh(folder, *extract())  # whose decoding processes are new interpreters
    assert done.returncode == 0, done.stderr
    check_negative(folder)
    assert "negative.py" in json.loads((folder / "new/store.json").read_text())["recipe"]["code"]


def test_a_mistake_in_a_decoding_process_is_no_fault_of_the_video(own: Path, tmp_path: Path) -> None:
    folder = with_own_step(own, tmp_path / "own", STEP.replace("in sys.modules", "in []").replace("255", "white"))
    done = actloc(folder, *extract())
    assert done.returncode == 2
    assert "my_parts/negative.py:10: in apply: NameError: name 'white' is not defined" in done.stderr


@pytest.mark.slow
def test_workers_of_ray_take_the_same_code(own: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    folder = with_own_step(own, tmp_path / "own")
    done = actloc(folder, *extract("--engine", "ray"))
    assert done.returncode == 0, done.stderr
    check_negative(folder)


def test_a_mistake_in_several_processes_is_told_once_with_its_line(own: Path, tmp_path: Path) -> None:
    folder = copy_toy(own, tmp_path / "own")
    path = folder / "my_parts/one_layer.py"
    path.write_text(path.read_text().replace("inside = (start <= steps)", "inside = (begin <= steps)"))
    train = ("train", "my_experiment.yaml", "run.name=two", "training.batch_size=2")
    done = together(folder, 2, *train, ACTLOC_CODE="my_parts")
    assert all(process.returncode == 2 for process in done)
    assert stderr_of_all(done).count("in forward: NameError: name 'begin' is not defined") == 1
    assert "bug in actloc" not in stderr_of_all(done)
    record = json.loads((folder / "ckpt/two/environment.json").read_text())
    assert {entry["option"] for entry in record["code"]} == {"ACTLOC_CODE"}


def test_a_run_is_loaded_in_python_with_its_code(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    monkeypatch.delenv("ACTLOC_CODE", raising=False)
    try:
        predictor = package.load("ckpt/my_experiment", code="my_parts")
        assert predictor.predict("new_video.mp4")
        monkeypatch.setenv("ACTLOC_CODE", str(own / "my_parts"))
        assert package.load("ckpt/my_experiment").predict("new_video.mp4")  # of a detector that only this code has
    finally:
        own_code.use(())


def test_a_command_in_a_process_of_its_own_takes_the_code(own: Path) -> None:
    """Not in one that has imported everything before."""
    done = run_afresh(own, "show", "my_experiment.yaml", "--code", "my_parts/../my_parts")
    assert done.returncode == 0, done.stderr
    assert "kernel: 5  # Steps that it sees; an odd number." in done.stdout


def test_a_task_of_the_users_own_extends_another(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    write_examples(folder)
    (folder / "counted.yaml").write_text(f"task: {{name: counted}}\n{(folder / 'toy.yaml').read_text()}")
    code = ("--code", "counted.py")
    for command in (("train", "counted.yaml"), ("eval", "ckpt/counted"), ("convert", "ckpt/counted", "official.pth")):
        done = actloc(folder, *command, *code)
        assert done.returncode == 0, done.stderr
        assert ("4 actions in 2 videos" in done.stdout) == (command[0] == "eval")
    assert actloc(folder, "report", "ckpt/counted").returncode == 0
    assert "Localization that also prints" in " ".join(actloc(folder, "ls", "tasks", *code).stdout.split())
    without = actloc(folder, "eval", "ckpt/counted")
    assert without.returncode == 2
    assert "'counted' is not one of tasks" in without.stderr
    assert "add --code counted.py" in without.stderr
    without = actloc(folder, "convert", "ckpt/counted", "again.pth")
    assert without.returncode == 2
    assert "made by the task counted, which is missing" in " ".join(without.stderr.split())


REPORTED = '''
"""Localization with a page of its own."""
from actloc.tasks import localization

class Config(localization.Config):
    def report(self, run_folders):
        page = "\\n".join(map(str, run_folders))
        return {"report.html": page, "tables.md": "", "tables.csv": ""}
'''


def test_results_of_a_task_of_the_users_own_are_reported_by_it(tmp_path: Path) -> None:
    (tmp_path / "reported.py").write_text(REPORTED)
    results = tmp_path / "ckpt/mine/eval/test"
    results.mkdir(parents=True)
    (results / "metrics.json").write_text('{"task": "reported"}')
    refused = actloc(tmp_path, "report", "ckpt/mine")
    assert refused.returncode == 2
    assert "load your own task with --code FILE" in " ".join(refused.stderr.split())
    for arguments, environment in ((("--code", "reported.py"), {}), ((), {"ACTLOC_CODE": "reported.py"})):
        done = actloc(tmp_path, "report", "ckpt/mine", *arguments, **environment)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "ckpt/mine/report.html").read_text() == "ckpt/mine"
        (tmp_path / "ckpt/mine/report.html").unlink()


def test_the_page_names_everything_that_a_task_must_implement() -> None:
    text = section().partition("### Your own task")[2].partition("```")[0]
    named = set(re.findall(r"`(\w+)`", text))
    assert named >= {*TaskConfig.__abstractmethods__, "sections", "results"}
