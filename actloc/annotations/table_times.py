"""The times of tables: seconds, milliseconds or frames, as the names of the columns or the settings say."""

from collections.abc import Collection

from actloc.annotations.reading import Reading, ReadingSettings
from actloc.annotations.tables import COLUMNS, FRAME_COLUMNS
from actloc.annotations.times import number_of, seconds_of

MILLISECOND_COLUMNS = {
    end: tuple(f"{name}_{unit}" for name in COLUMNS[end] for unit in ("ms", "msec", "milliseconds", "(ms)", "[ms]"))
    for end in ("start", "end")
}
"""The columns `start` and `end` where they are milliseconds, among them those of ELAN's export."""
_EXPECTED = {"frames": "the whole number of a frame", "milliseconds": "milliseconds"}


def has_ends(names: Collection[str]) -> bool:
    """Whether there are columns of start and end, in one of the units."""
    units = (COLUMNS, FRAME_COLUMNS, MILLISECOND_COLUMNS)
    return all(any(set(names) & {*columns[end]} for columns in units) for end in ("start", "end"))


def columns_and_unit(names: Collection[str], settings: ReadingSettings) -> tuple[dict[str, tuple[str, ...]], str]:
    """The names that each column may have, and the unit of start and end.

    Columns of frames are only taken if the settings say at which rate frames were counted.
    """

    def has(columns: dict[str, tuple[str, ...]]) -> bool:
        return all(set(names) & {*columns[end]} for end in ("start", "end"))

    unit: str = settings.unit or "seconds"
    if settings.unit is None and not has(COLUMNS):
        if has(MILLISECOND_COLUMNS):
            unit = "milliseconds"
        elif settings.annotations_fps is not None:
            unit = "frames"
    columns = dict(COLUMNS)
    for end in ("start", "end"):
        if unit == "milliseconds":
            columns[end] = (*MILLISECOND_COLUMNS[end], *COLUMNS[end])
        elif unit == "frames":
            columns[end] = (*FRAME_COLUMNS[end], *COLUMNS[end])
        elif settings.unit == "seconds":
            columns[end] = (*COLUMNS[end], *FRAME_COLUMNS[end])
    return columns, unit


def times_of(start: str, end: str, unit: str, video: str, reading: Reading) -> tuple[float, float, str]:
    """Start and end in seconds, and why they cannot be read; empty if they can."""
    read = {"frames": _frame, "milliseconds": number_of}.get(unit, seconds_of)
    first, last = read(start), read(end)
    if first is None or last is None:
        bad = start if first is None else end
        return 0.0, 0.0, f"cannot read the time {bad!r}; expected {_EXPECTED.get(unit, 'seconds or H:MM:SS')}"
    if unit == "frames":
        return *reading.seconds(video, first, last, 0), ""
    divisor = 1000 if unit == "milliseconds" else 1
    return first / divisor, last / divisor, ""


def _frame(text: str) -> float | None:
    """The number of a frame; None for other text and for what is between two frames."""
    number = number_of(text)
    return number if number is not None and number.is_integer() else None
