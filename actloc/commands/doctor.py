"""`actloc doctor [CONFIG | RUN | FOLDER]`: what is wrong with the machine, the data or a run; it changes nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from actloc import console
from actloc.diagnosis import environment
from actloc.diagnosis.finding import Finding, worst_first
from actloc.experiment import Experiment, find, is_run, load
from actloc.settings import parts

_WOULD_FAIL = 2


def run(target: str | None, overrides: Sequence[str], code: Sequence[Path] = (), *, decodes: bool = False) -> int:
    """Prints what was found, the worst first; the exit status is 2 if a command would fail, or results are false.

    `decodes`: reads every picture of the videos, not only headers and packets.
    """
    parts.use_code(code)
    if target is None:
        found = environment.findings()
    elif Path(target).is_dir() and not is_run(Path(target)):
        from actloc.commands import doctor_folder

        found = doctor_folder.findings(Path(target), decodes=decodes)
    else:
        found = _of_experiment(load(target, list(overrides)), decodes=decodes)
    return _report(found, target)


def _of_experiment(experiment: Experiment, *, decodes: bool) -> list[Finding]:
    from actloc.commands import doctor_data, doctor_run

    data = doctor_data.look(experiment, decodes=decodes)
    found = list(data.findings)
    names_run = is_run(find(experiment.typed).parent)
    if data.annotations is not None and (names_run or is_run(experiment.run_folder)):
        found += doctor_run.findings(experiment, data.annotations)
    return [_with_names(one, experiment) for one in found]


def _with_names(finding: Finding, experiment: Experiment) -> Finding:
    """The finding with the config and the settings that were typed in its command."""
    fix = finding.fix.replace(" [SETTINGS]", "").replace(" CONFIG", f" {experiment.arguments}")
    return replace(finding, fix=fix)


def _report(found: Sequence[Finding], target: str | None) -> int:
    found = worst_first(found)
    for one in found:
        mark = {"error": "Error", "warning": "Warning", "note": "Note"}[one.severity]
        where = f" ({one.where})" if one.where else ""
        console.result(f"{mark}: {one.what}{where}")
        if one.fix:
            console.result(f"  {one.fix}")
        fields: dict[str, Any] = {"severity": one.severity, "kind": one.kind, "what": one.what}  # Any: JSON values
        console.emit("finding", **fields, where=one.where, fix=one.fix, value=one.value)
    errors, warnings = (sum(one.severity == kind for one in found) for kind in ("error", "warning"))
    counted = f"{console.count(errors, 'error')}, {console.count(warnings, 'warning')}"
    console.result(f"{'Environment' if target is None else target}: {counted}")
    if target is None and not errors:
        console.say("Next: actloc doctor CONFIG, RUN or FOLDER checks data")
    console.emit("done", errors=errors, warnings=warnings)
    return _WOULD_FAIL if errors else 0
