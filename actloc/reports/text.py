"""Makes foreign text harmless in each format we write, and formats the numbers of a report."""

import re

UNMEASURED = "\u2013"  # a dash

# Control characters except tab and newline, marks that change the direction of text, and surrogates (not UTF-8).
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~#&$])")
_BARE_ADDRESS = re.compile(r"(?i)(www)\.|://")
_PLAIN_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: object) -> str:
    """The text without control characters and direction marks; keeps tabs and line ends."""
    return _SURROGATE.sub("\ufffd", _UNPRINTABLE.sub("", str(text).replace("\r\n", "\n")))


def one_line(text: object) -> str:
    """The printable text, with each run of white space replaced by one blank."""
    return " ".join(printable(text).split())


def markdown(text: object) -> str:
    """Text that Markdown shows as it is: nothing in it starts a table cell, emphasis, an element, entity or link."""
    escaped = _MARKDOWN_SPECIAL.sub(r"\\\1", one_line(text))
    return _BARE_ADDRESS.sub(lambda match: f"{match[1]}\\." if match[1] else ":\\/\\/", escaped)


def csv_cell(text: object) -> str:
    """Text that a spreadsheet does not execute: puts an apostrophe before formulas, but not before numbers."""
    raw = str(text)
    cell = one_line(raw)
    is_formula = raw.startswith(_STARTS_FORMULA) or cell.startswith(_STARTS_FORMULA)
    return f"'{cell}" if is_formula and not _PLAIN_NUMBER.fullmatch(cell) else cell


def percent(fraction: float | None) -> str:
    """A proportion in percent with two decimals; a dash if it was not measured."""
    return UNMEASURED if fraction is None else f"{100 * fraction:.2f}"


def short_percent(fraction: float) -> str:
    """A proportion in percent with one decimal, where there is little room."""
    return f"{100 * fraction:.1f}"


def seconds(time_s: float) -> str:
    """A time or a duration, to a tenth of a second."""
    return f"{time_s:.1f}"


def score(value: float) -> str:
    """A score with two decimals, or with two significant digits if it is very small."""
    return f"{value:.2f}" if value >= 0.005 or value <= 0 else f"{value:.1e}"


def threshold(tiou: float) -> str:
    """A temporal IoU as shown in headers."""
    return f"{tiou:.2f}"
