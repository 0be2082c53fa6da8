"""What a diagnosis found."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


def graded(is_worse: bool, worse: Severity, better: Severity) -> Severity:
    """One of two severities."""
    return worse if is_worse else better


@dataclass(frozen=True)
class Finding:
    """One fact that matters: an error makes a command fail or its results false, a warning may, a note informs."""

    severity: Severity
    kind: str
    """A short name of the check, which stays the same."""
    what: str
    where: str = ""
    """A file, a video or a setting."""
    fix: str = ""
    """What to do, with a command where one does it."""
    value: Any = None  # Any: JSON values
    """The numbers that show it."""


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, then warnings, then notes; of each, causes in the order in which they were looked for."""
    return sorted(findings, key=lambda one: _SEVERITIES.index(one.severity))
