"""Which results each setting shapes, and in which settings two experiments differ.

What a setting shapes is written next to it (`Section.shapes`, `Shapes`); nothing here knows a setting's name.
"""

import json
import typing
from collections.abc import Callable
from typing import Any

from actloc.settings.sections import Result, Section, Shapes

_ORDER: tuple[Result, ...] = typing.get_args(Result)


def shaping(section: Section, result: Result) -> dict[str, Any]:  # Any: JSON values
    """The section's settings that shape `result` (weights: also those that shape detections or features), by name."""
    least = _ORDER.index(result)
    return _chosen(section, lambda shapes: max(map(_ORDER.index, shapes)) >= least)


def measuring(section: Section) -> dict[str, Any]:  # Any: JSON values
    """The section's settings that shape results and may change after training, by name."""
    return _chosen(section, lambda shapes: "results" in shapes)


def _chosen(section: Section, belongs: Callable[[tuple[Result, ...]], bool]) -> dict[str, Any]:  # Any: JSON values
    plain, chosen = section.model_dump(mode="json"), {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            chosen[name] = _chosen(value, belongs)
            continue
        marks = [mark.what for mark in field.metadata if isinstance(mark, Shapes)]
        if belongs(marks[-1] if marks else (type(section).shapes,)):
            chosen[name] = plain[name]
    return flat(chosen)


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:  # Any: JSON values
    """Nested settings with dotted keys."""
    result = {}
    for key, value in settings.items():
        result.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return result


def differences(old: dict[str, Any], new: dict[str, Any], where_old: str, where_new: str) -> list[str]:
    """`key: value WHERE_OLD, value WHERE_NEW` for each setting in which the two differ, nested or with dotted keys."""
    before, after = flat(old), flat(new)
    return [
        f"{key}: {_text(before, key)} {where_old}, {_text(after, key)} {where_new}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def _text(settings: dict[str, Any], key: str) -> str:
    if key not in settings:
        return "absent"
    value = settings[key]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
