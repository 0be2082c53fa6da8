"""`actloc show CONFIG`: the complete settings, each with its meaning, as YAML that can be saved and run."""

import inspect
import json
from typing import Any

from pydantic import BaseModel

from actloc import console
from actloc.experiment import Experiment


def run(experiment: Experiment) -> int:
    """Prints the settings section by section."""
    for name in experiment.to_data():
        section = getattr(experiment, name)
        meaning = inspect.getdoc(type(section)) or ""
        console.result(f"# {meaning.partition(chr(10))[0]}")
        console.result(f"{name}:")
        _show(section, indent=2)
        console.result("")
    console.say(f"Change one on the command line: actloc train {experiment.file} optimizer.learning_rate=3e-4")
    return 0


def _show(section: BaseModel, indent: int) -> None:
    space = " " * indent
    data = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            console.result(f"{space}{name}:  # {field.description or ''}")
            _show(value, indent + 2)
            continue
        console.result(f"{space}{name}: {_text(data[name])}  # {' '.join((field.description or '').split())}")


def _text(value: Any) -> str:  # Any: plain data
    return json.dumps(value, ensure_ascii=False)
