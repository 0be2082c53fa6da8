import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.results import Results, Video
from actloc.reports.html import MOST_TIMELINES, predictions_page, report_page
from actloc.reports.runs import Evaluation

SCRIPT = "".join(Path(f"actloc/reports/{name}.js").read_text() for name in ("filter", "thresholds"))
VOID = {"meta", "link", "br", "img", "input", "hr"}
MAY_HOLD_ADDRESSES = ("src", "href", "xlink:href", "action", "formaction", "srcset", "data", "poster", "xmlns", "style")


class Page(HTMLParser):
    """Elements, ids and texts of a page; fails at a tag that closes nothing."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        else:
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


@pytest.fixture
def evaluation(results: Results, predictions: Predictions) -> Evaluation:
    losses = [(step, 2.0 / step) for step in range(1, 50)]
    settings = "detector: {name: actionformer}  # </pre><script>alert(3)</script>\n"
    return Evaluation(
        run=Path("ckpt/run a"),
        results=results,
        predictions=predictions,
        settings=settings,
        environment=None,
        command="actloc train x.yaml",
        losses=losses,
    )


def with_results(evaluation: Evaluation, results: Results) -> Evaluation:
    return replace(evaluation, results=results, settings=None, command=None, losses=[])


def assert_harmless(page: Page) -> None:
    assert page.scripts in ([], [SCRIPT])
    assert not page.elements & {"img", "iframe", "object", "embed", "link", "base", "form", "image", "use"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for name, value in page.attributes:
        if name in MAY_HOLD_ADDRESSES:
            assert "://" not in value
            assert "javascript:" not in value.lower()
    assert all(target.startswith("#") for target in page.values("href"))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in page.values("href")} <= set(ids)
    assert {name for value in page.values("aria-labelledby") for name in value.split()} <= set(ids)
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    allowed = f"; script-src 'sha256-{digest}'" if page.scripts else ""
    assert f"default-src 'none'; style-src 'unsafe-inline'{allowed}" in page.values("content")


def test_a_hostile_run_becomes_text(evaluation: Evaluation) -> None:
    text = report_page([evaluation])
    page = Page(text)
    assert_harmless(page)
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "clap [/b] [hands] :bomb:" in page.text
    assert 'v"><script>alert(2)</script>[31m \U0001f600 {{ 7 * 7 }}' in page.text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_the_page_shows_the_map_where_it_comes_from_and_what_was_left_out(evaluation: Evaluation) -> None:
    page = Page(report_page([evaluation]))
    shown = " ".join(page.text.split())
    for words in (
        "60.00%",
        "thumos14 test, test set 212, 3 videos",
        "ckpt_000030, averaged weights",
        "0123456789abcdef",
        "2 cores, no GPU",
        "Evaluated 501 predictions against 8 true actions in 3 videos.",
        "1 video without predictions; 2 true actions count as missed",
        "1 prediction for videos outside the subset",
        "4 predictions of zero length",
        "No videos without features, predictions with unknown labels, repeated true actions removed, predictions tied",
        "actloc train x.yaml actloc eval 'ckpt/run a' actloc report 'ckpt/run a'",
        "environment.json): not in the run folder",
    ):
        assert words in shown


def test_figures_have_descriptions_and_tables(evaluation: Evaluation) -> None:
    page = Page(report_page([evaluation]))
    assert "silent" in page.text
    assert any("truth: 0.0 to 4.0 s" in label for label in page.values("aria-label"))
    assert any(label.startswith("Training loss from step 1 to 49: highest 2.00") for label in page.values("aria-label"))
    assert "As a table: all true actions; predictions shown: 20 of " in page.text


def test_numbers_that_were_not_measured_are_dashes(
    evaluation: Evaluation, make_results: Callable[..., Results]
) -> None:
    bare = make_results(
        seed=None, commit=None, average_map=None, mean_ap=[None, None], class_ap=[[None, None]] * 4, videos=[]
    )
    page = Page(report_page([with_results(evaluation, bare)]))
    assert_harmless(page)
    assert "not recorded" in page.text
    assert "No true actions." in page.text
    assert "None" not in page.text.replace("None: ", "")


def test_several_runs_are_compared_first(evaluation: Evaluation, make_results: Callable[..., Results]) -> None:
    other = with_results(evaluation, make_results(name="run_b", mean_ap=[0.7, 0.1], average_map=0.4))
    page = Page(report_page([evaluation, other]))
    assert_harmless(page)
    assert page.text.index("2 runs side by side") < page.text.index("Run 1 of 2") < page.text.index("Run 2 of 2")


def test_videos_without_a_timeline_are_listed(evaluation: Evaluation, make_results: Callable[..., Results]) -> None:
    videos = [Video(id=f"video {number}", duration_s=10.0) for number in range(MOST_TIMELINES + 3)]
    page = Page(report_page([with_results(evaluation, make_results(videos=videos))]))
    assert "3 more videos without timelines" in page.text
    assert all(video.id in page.text for video in videos)


def test_time_that_is_not_annotated_has_a_legend_entry_and_words(evaluation: Evaluation) -> None:
    assert "not annotated" not in Page(report_page([evaluation])).text
    first, *others = evaluation.results.videos
    partly = first.model_copy(update={"annotated": [[0.0, first.duration_s / 2]]})
    results = evaluation.results.model_copy(update={"videos": [partly, *others]})
    page = Page(report_page([with_results(evaluation, results)]))
    assert_harmless(page)
    assert page.text.count("not annotated: predictions there are left out") == 1
    assert f"annotated 0.0 to {first.duration_s / 2:.1f} s" in page.text
    several = Page(report_page([with_results(evaluation, results)] * 2))
    assert "not annotated: predictions there are left out" in several.text


def test_a_true_action_whose_label_is_not_a_class_is_drawn(
    evaluation: Evaluation, make_results: Callable[..., Results]
) -> None:
    videos = [Video(id="v", duration_s=9.0, truth=[{"label": "unlisted", "start_s": 1.0, "end_s": 2.0}])]  # type: ignore[list-item]
    assert "unlisted" in Page(report_page([with_results(evaluation, make_results(videos=videos))])).text


def test_predictions_of_new_videos_are_drawn_without_truth(predictions: Predictions) -> None:
    videos = [Video(id=name, duration_s=60.0) for name in predictions]
    page = Page(predictions_page("<b>title</b>", videos, predictions, facts={"Model": "<i>"}))
    assert_harmless(page)
    assert "No actions found." in page.text
    assert "predictions shown: 20 of 500" in page.text
    assert not any(label.endswith("truth: none") for label in page.values("aria-label"))


def test_the_page_says_which_predictions_are_below_their_threshold() -> None:
    claims = {"v": [Prediction("a", 0.9, 0, 1), Prediction("a", 0.2, 2, 3)]}
    page = Page(predictions_page("t", [Video(id="v", duration_s=5.0)], claims, {"a": 0.5}))
    assert "predictions shown: 1 of 1 that count, 1 of 1 that do not" in page.text


def test_of_thousands_of_new_videos_the_first_are_drawn() -> None:
    videos = [Video(id=f"v{number}", duration_s=5.0) for number in range(203)]
    page = Page(predictions_page("t", videos, {video.id: [Prediction("a", 0.9, 0, 1)] for video in videos}))
    assert "v199" in page.text
    assert "v200" not in page.text
    assert "3 more videos not drawn here: segments.csv has the segments of all." in page.text
