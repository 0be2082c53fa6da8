"""Times as people and programs write them."""

import re

_CLOCK = re.compile(r"(?:(?:(\d{1,9}):)?(\d{1,9}):)?(\d*[.,]?\d+|\d+[.,])|-\d*[.,]?\d+")
_SCIENTIFIC = re.compile(r"\d[.\d]{0,20}[eE][+-]?\d\d?")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d{1,3})?")


def seconds_of(text: str) -> float | None:
    """Seconds of `12.5`, `12,5`, `1e-05`, `1:02.5` or `0:01:02.5`; None for other text."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        is_number = _SCIENTIFIC.fullmatch(text) and text.count(".") < 2  # as programs write numbers
        return float(text) if is_number else None
    hours, minutes, seconds = match.groups()
    if seconds is None:  # a negative number, which the check of all actions reports
        return float(text.replace(",", "."))
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds.replace(",", "."))


def number_of(text: str) -> float | None:
    """A number with a decimal point or comma; None for other text."""
    return float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else None


def clock(total_ms: int, decimal: str) -> str:
    """`HH:MM:SS` and milliseconds after `decimal`, as subtitles have it."""
    seconds, ms = divmod(max(0, total_ms), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{decimal}{ms:03d}"
