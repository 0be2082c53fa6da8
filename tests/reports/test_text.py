import pytest

from actloc.reports import text


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("=cmd()", "'=cmd()"),
        ("+1+2", "'+1+2"),
        ("-a", "'-a"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'=1"),
        ("\r=1", "'=1"),
        ("\x00=1", "'=1"),
        ("-1.5", "-1.5"),
        ("+2e-3", "+2e-3"),
        ("clean and jerk", "clean and jerk"),
        ("a\nb", "a b"),
    ],
)
def test_a_csv_cell_is_never_a_formula_and_numbers_stay_numbers(cell: str, expected: str) -> None:
    assert text.csv_cell(cell) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a|b", "a\\|b"),
        ("`x`", "\\`x\\`"),
        ("*b* _i_ ~s~", "\\*b\\* \\_i\\_ \\~s\\~"),
        ("<img src=x>", "\\<img src=x\\>"),
        ("[t](u)", "\\[t\\](u)"),
        ("&lt; $x$ #1", "\\&lt; \\$x\\$ \\#1"),
        ("a\n\n| b", "a \\| b"),
        ("http://evil.example", "http:\\/\\/evil.example"),
        ("www.evil.example", "www\\.evil.example"),
        ("\\", "\\\\"),
    ],
)
def test_markdown_shows_special_characters_as_they_are(raw: str, expected: str) -> None:
    assert text.markdown(raw) == expected


def test_control_characters_direction_marks_and_surrogates_are_removed() -> None:
    assert text.printable("a\x1b[31m\x00\x9b\u202eb\ud800\t\n") == "a[31mb\ufffd\t\n"


def test_emoji_and_joined_letters_stay() -> None:
    assert text.one_line(" \U0001f468\u200d\U0001f469  é ") == "\U0001f468\u200d\U0001f469 é"


def test_a_number_that_was_not_measured_is_a_dash() -> None:
    assert text.percent(None) == "\u2013"
    assert text.percent(0.12345) == "12.35"


@pytest.mark.parametrize(("value", "expected"), [(0.934, "0.93"), (1.0, "1.00"), (0.0, "0.00"), (0.00042, "4.2e-04")])
def test_small_scores_keep_their_digits(value: float, expected: str) -> None:
    assert text.score(value) == expected
