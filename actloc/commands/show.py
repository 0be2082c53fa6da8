"""`actloc show CONFIG`: the complete settings, each with its meaning, as YAML that can be saved and run."""

import inspect
import json
from dataclasses import asdict

from pydantic import BaseModel

from actloc import console
from actloc.encoders import base_sizes as sizes
from actloc.encoders.base import EncoderConfig
from actloc.experiment import Experiment
from actloc.settings import meanings
from actloc.tasks.base import task_of


def run(experiment: Experiment) -> int:
    """Prints the settings section by section, and the size of the encoder; in JSON mode, an event for each of these."""
    for name, section in experiment.sections.items():
        if section.is_empty:
            continue
        meaning = inspect.getdoc(type(section)) or ""
        console.result(f"# {meaning.partition(chr(10))[0]}")
        console.result(f"{name}:")
        _show(section, name, indent=2)
        for line in getattr(section, "guide", "").splitlines():
            console.result(f"# {line}".rstrip())
        encoder = task_of(experiment).encoder_in(section)
        if encoder is not None and encoder[0].has_weights:
            _show_encoder(*encoder, task_of(experiment).num_classes(experiment))
        console.result("")
    console.say(f"Change one on the command line: actloc train {experiment.arguments} optimizer.learning_rate=3e-4")
    return 0


def _show_encoder(config: EncoderConfig, num_frames: int, num_classes: int | None) -> None:
    size, about = sizes.recorded(config, num_frames), config.about_files
    if about:
        console.result(f"# The encoder {config.name}: {about}")
    if size is None and about is None:
        # counted only for settings that are not recorded, because this imports torch
        from actloc.commands.show_encoder import encoder_size

        size = encoder_size(config, num_frames)
    if size is None:
        return
    what = f"The encoder {config.name}"
    if num_classes is not None:
        size, what = size.with_classifier(num_classes), f"{what} with a classifier of {num_classes} classes"
    console.result(f"# {what}: {size}")
    console.emit("encoder", name=config.name, num_classes=num_classes, **asdict(size))


def _show(section: BaseModel, place: str, indent: int) -> None:
    space = " " * indent
    data = section.model_dump(mode="json")
    for name in type(section).model_fields:
        value, meaning = getattr(section, name), meanings.meaning(type(section), name)
        if isinstance(value, BaseModel):
            console.result(f"{space}{name}:  # {meaning}")
            _show(value, f"{place}.{name}", indent + 2)
            continue
        console.result(f"{space}{name}: {json.dumps(data[name], ensure_ascii=False)}  # {meaning}")
        console.emit("setting", name=f"{place}.{name}", value=data[name], meaning=meaning)
