"""What a page says of the settings of runs: those that differ, and the few that everybody asks for first."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from actloc.reports.cells import Cell, Table
from actloc.reports.text import UNMEASURED

Settings = Mapping[str, Any]  # Any: YAML values
"""Settings by dotted key; empty if they are not known."""
_LONGEST_TEXT = 48
_OWN_OF_A_RUN = ("run.name", "run.folder", "published.")
_BY_PART = "name"


def differing(names: Sequence[str], settings: Sequence[Settings]) -> Table | None:
    """The settings that differ between runs, one row each; None if no two runs have known settings."""
    known = [place for place, one in enumerate(settings) if one]
    if len(known) < 2:
        return None
    keys = dict.fromkeys(key for one in settings for key in one if not key.startswith(_OWN_OF_A_RUN))
    rows = []
    for key in keys:
        values = [settings[place].get(key, _Absent) for place in known]
        if not _differ(key, values, [settings[place] for place in known]):
            continue
        shown = dict(zip(known, _texts(values), strict=True))
        rows.append([Cell(key), *(Cell(shown.get(place, UNMEASURED)) for place in range(len(settings)))])
    unknown = [name for name, one in zip(names, settings, strict=True) if not one]
    caption = [] if rows else ["No setting differs."]
    caption += [f"Not known, because config.yaml is missing or damaged: {', '.join(unknown)}."] if unknown else []
    return Table("Settings that differ", ["setting", *names], 1 + len(names), rows, caption)


class _Absent:
    """The value of a setting that a run's file does not have."""


def _differ(key: str, values: Sequence[Any], settings: Sequence[Settings]) -> bool:  # Any: YAML values
    """A setting that only newer files have counts only where the runs chose other parts, which have other settings."""
    if len({_text(value) for value in values}) == 1:
        return False
    parts = {json.dumps([one.get(f"{block}.{_BY_PART}") for block in _blocks(key)]) for one in settings}
    return len({_text(value) for value in values if value is not _Absent}) > 1 or len(parts) > 1


def _blocks(key: str) -> list[str]:
    """`features.encoder.size` is in the blocks `features` and `features.encoder`."""
    words = key.split(".")[:-1]
    return [".".join(words[:depth]) for depth in range(1, len(words) + 1)]


def _texts(values: Sequence[Any]) -> list[str]:  # Any: YAML values
    """The values, long ones shortened unless they would then look the same."""
    whole = [_text(value) for value in values]
    short = [_shortened(text, value) for text, value in zip(whole, values, strict=True)]
    return short if len(set(short)) == len(set(whole)) else whole


def _text(value: Any) -> str:  # Any: a YAML value
    if value is _Absent:
        return UNMEASURED
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shortened(text: str, value: Any) -> str:  # Any: a YAML value
    if len(text) <= _LONGEST_TEXT:
        return text
    if isinstance(value, list):
        return f"{text[: _LONGEST_TEXT // 2]} ... ({len(value)} values)"
    return f"{text[: _LONGEST_TEXT // 2]} ... {text[-_LONGEST_TEXT // 2 :]}"


def key_facts(settings: Settings, num_steps: int | None) -> list[tuple[str, str]]:
    """The network, the training and its length, for the list at the top of a run."""
    steps = [] if num_steps is None else [("Steps", f"{num_steps:,}")]
    if not settings:
        return steps
    return [
        *_fact("Detector", _detector(settings)),
        *_fact("Encoder", _encoder(settings)),
        *_fact("Epochs", _epochs(settings)),
        *steps,
        *_fact("Learning rate", _rate(settings)),
        *_fact("Batch", _batch(settings)),
    ]


def _fact(name: str, text: str) -> list[tuple[str, str]]:
    return [(name, text)] if text else []


def _detector(settings: Settings) -> str:
    return str(settings.get("detector.name", ""))


def _encoder(settings: Settings) -> str:
    for block in ("features.encoder", "clips.encoder"):
        name = settings.get(f"{block}.{_BY_PART}")
        if name:
            sizes = [settings.get(f"{block}.{key}") for key in ("size", "variant", "depth")]
            return " ".join([str(name), *(str(size) for size in sizes if size)])
    path = settings.get("features.path")
    return f"none; features of {path}" if path else ""


def _epochs(settings: Settings) -> str:
    epochs, warm_up = settings.get("schedule.epochs"), settings.get("schedule.warmup_epochs")
    stop = settings.get("schedule.stop_after_epochs")
    text = "" if epochs is None else f"{epochs}"
    text += f" after {warm_up} of warm-up" if text and warm_up else ""
    return f"{text}, stopped after {stop}" if text and stop else text


def _rate(settings: Settings) -> str:
    rate, name = settings.get("optimizer.learning_rate"), settings.get("optimizer.name")
    return "" if not isinstance(rate, int | float) else f"{rate:g}, {name or 'adamw'}"


def _batch(settings: Settings) -> str:
    size, passes = settings.get("training.batch_size"), settings.get("training.accumulate")
    return "" if size is None else f"{size}" + (f" x {passes} passes" if passes not in (None, 1) else "")
