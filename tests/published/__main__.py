"""`scripts/published_results [NAME...]`: published prediction files scored by our evaluator, beside what was published.

Files that may not be committed are read from the folder that ACTLOC_DATA names.
"""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actloc.annotations import form
from actloc.evaluation.predictions import Prediction, Predictions
from tests.published.cases import CASES, DATA, SUBSET, Case

# rounded to two decimals by those who published
TOLERANCE = 0.005
_CONFIG = """\
# {name}: the published predictions in our forms, without a model
dataset: {{name: custom, folder: ., videos: ., annotations: annotations.json, evaluation_subset: {subset}}}
features: {{name: stored, path: ., fps: 1, clip_frames: 1, stride_frames: 1}}
detector: {{name: actionformer}}
evaluation: {{protocol: {protocol}, tious: {tious}}}
"""


def main() -> int:
    """0 if every figure that could be checked is the published one."""
    arguments = _arguments()
    console = Console()
    table = Table(title="Average precision in percent, mean of the classes")
    table.add_column("result", overflow="fold")
    table.add_column("protocol", overflow="fold")
    for name in ("tIoU", "published", "ours"):
        table.add_column(name, justify="right")
    table.add_column("")
    unchecked, is_right = [], True
    for case_of in CASES:
        if arguments.names and case_of.__name__ not in arguments.names:
            continue
        try:
            case = case_of(arguments.data)
        except FileNotFoundError as error:
            unchecked.append(f"{case_of.__name__}: {error.filename} does not exist")
            continue
        is_right &= _add_rows(table, case)
        if arguments.output:
            for line in _convert(arguments.output / case_of.__name__, case):
                console.print(line, soft_wrap=True, markup=False, highlight=False)
    console.print(table)
    for line in unchecked:
        console.print(f"Not checked: {line}", style="yellow", soft_wrap=True, markup=False)
    return 0 if is_right else 1


def _arguments() -> argparse.Namespace:
    names = [case_of.__name__ for case_of in CASES]
    parser = argparse.ArgumentParser("scripts/published_results", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"results to check: {', '.join(names)} (default: all)")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of published files (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, help="also write what `actloc eval --predictions` reads into this folder"
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in names]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; expected some of {', '.join(names)}")
    return arguments


def _add_rows(table: Table, case: Case) -> bool:
    ours = [100 * float(value) for value in case.class_ap().mean(axis=1)]
    rows = [(f"{tiou:.2f}", *pair) for tiou, *pair in zip(case.tious, case.published, ours, strict=True)]
    if case.published_average is not None:
        rows.append(("average", case.published_average, sum(ours) / len(ours)))
    for number, (tiou, published, value) in enumerate(rows):
        verdict = "equal" if abs(value - published) <= TOLERANCE else "[red]differs[/red]"
        names = (case.name, case.protocol) if number == 0 else ("", "")
        table.add_row(*names, tiou, f"{published:.2f}", f"{value:.2f}", verdict, end_section=number == len(rows) - 1)
    return all(abs(value - published) <= TOLERANCE for _, published, value in rows)


def _convert(folder: Path, case: Case) -> list[str]:
    """Writes annotations, settings and predictions; returns the commands that score them, to run in `folder`."""
    form.write(folder / "annotations.json", case.annotations)
    tious = json.dumps(list(case.tious))
    settings = _CONFIG.format(name=case.name, subset=SUBSET, protocol=case.protocol, tious=tious)
    (folder / "published.yaml").write_text(settings)
    if len(case.predictions) == 1:
        _write_json(folder / "predictions.json", case.predictions[0])
        return [f"cd {folder} && actloc eval published.yaml --predictions predictions.json"]
    lines = []
    for tiou, found in zip(case.tious, case.predictions, strict=True):
        name = f"predictions_{tiou:.1f}.txt"
        (folder / name).write_text("".join(_text_row(video, one) for video in found for one in found[video]))
        override = f"run.name=tiou_{tiou:.1f} 'evaluation.tious=[{tiou}]'"
        lines.append(f"cd {folder} && actloc eval published.yaml {override} --predictions {name}")
    return lines


def _text_row(video: str, one: Prediction) -> str:
    return f"{video} {one.start_s} {one.end_s} {one.label} {one.score}\n"


def _write_json(path: Path, found: Predictions) -> None:
    claims = {
        video: [{"label": one.label, "score": one.score, "segment": [one.start_s, one.end_s]} for one in listed]
        for video, listed in found.items()
    }
    path.write_text(json.dumps({"version": "converted", "results": claims, "external_data": {}}))


if __name__ == "__main__":
    sys.exit(main())
