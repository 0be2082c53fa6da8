import shlex
import subprocess
from pathlib import Path

import pytest

from actloc.files import read_json
from tests.published import __main__ as script
from tests.published import cases
from tests.toy import actloc


def test_a_result_whose_file_is_absent_is_named_and_not_an_error(tmp_path: Path) -> None:
    done = subprocess.run(
        ["scripts/published_results", "--data", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for case_of in cases.CASES:
        assert f"Not checked: {case_of.__name__}" in done.stdout


def test_an_unknown_result_is_refused() -> None:
    done = subprocess.run(["scripts/published_results", "nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "scnn_thumos14" in done.stderr


@pytest.mark.skipif(not cases.DATA.is_dir(), reason=f"{cases.DATA} (ACTLOC_DATA) holds what may not be committed")
@pytest.mark.parametrize(
    "case_of", [cases.turn_thumos14, cases.activitynet_sample], ids=lambda case_of: case_of.__name__
)
def test_the_converted_files_give_the_published_figure_through_the_command(case_of: object, tmp_path: Path) -> None:
    case: cases.Case = case_of(cases.DATA)  # type: ignore[operator]
    line = script._convert(tmp_path, case)[0]
    words = shlex.split(line.partition("&& actloc ")[2])
    done = actloc(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    (metrics,) = tmp_path.glob("ckpt/*/eval/*/metrics.json")
    assert 100 * read_json(metrics)["mean_ap"][0] == pytest.approx(case.published[0], abs=0.005)
