import csv
import io

from actloc.evaluation.predictions import Prediction
from actloc.reports import subtitles

CLAIMS = [Prediction("b --> <i>{\\an8}\n\nx", 0.5, 3661.2344, 3662.0), Prediction("=a", 0.93, 0.0, 1.9996)]


def test_subtitles_are_numbered_by_time_and_their_text_stays_text() -> None:
    assert subtitles.as_srt(CLAIMS) == (
        "1\n00:00:00,000 --> 00:00:02,000\n=a (0.93)\n\n2\n01:01:01,234 --> 01:01:02,000\nb --) (i)(\\an8) x (0.50)\n"
    )


def test_no_segments_give_an_empty_file() -> None:
    assert subtitles.as_srt([]) == ""


def test_segments_csv_has_one_line_per_segment_and_no_formulas() -> None:
    rows = list(csv.reader(io.StringIO(subtitles.as_csv({'-v,"1"': CLAIMS, "empty": []}))))
    assert rows[0] == ["video", "start", "end", "label", "score"]
    assert rows[2] == ['\'-v,"1"', "0.000", "2.000", "'=a", "0.93"]
    assert len(rows) == 3
