"""The viewer in a real browser: it plays, seeks, counts, filters and obeys keys, and talks to nobody else."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from actloc.reports.text import UNMEASURED
from tests.chromium import launched, needs_browser
from tests.viewer.made_up_set import HOSTILE, PREDICTIONS, SECONDS, viewing, write_run, write_videos

pytestmark = [needs_browser, pytest.mark.slow]
ALL, THIS = "#numbers-all td", "#numbers-video td"


@dataclass
class Watched:
    """What a page asked for and complained about."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def note_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as one:
        yield one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("viewed")
    write_run(made / "run")
    write_videos(made / "videos")
    write_videos(made / "avi", ".avi")
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with viewing(folder, "run", "videos") as (one, _):
        yield one


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def page(browser: Browser, address: str, watched: Watched) -> Iterator[Page]:
    """The page of the run with videos, with `first` opened; a test leaves no complaint, and asks no other host."""
    yield from opened(browser, address, watched)


def opened(browser: Browser, address: str, watched: Watched, width: int = 1280) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.on("request", watched.note_request)
    page.on("console", watched.note_message)
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.goto(address)
    page.locator("#videos button", has_text="first").click()
    expect(page.locator("#video-name")).to_have_text("first")
    expect(page.locator(".segment").first).to_be_visible()
    yield page
    page.close()
    assert watched.complaints == []
    host = urlsplit(address).netloc
    assert len(watched.requests) > 10
    assert {urlsplit(url).netloc for url in watched.requests} == {host}


def until(page: Page, expression: str) -> None:
    """Waits until an expression is true; the page's policy forbids Playwright's own way, which evaluates text in it."""
    deadline = time.monotonic() + 60
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


def at(page: Page) -> float:
    return float(page.evaluate("document.querySelector('video').currentTime"))


def segment(page: Page, words: str) -> str:
    """The accessible name of the segment that has the words, which must be one."""
    found = page.locator(f'.segment[aria-label*="{words}"]')
    expect(found).to_have_count(1)
    return found.get_attribute("aria-label") or ""


def test_a_video_plays_and_a_click_on_a_segment_seeks(page: Page) -> None:
    expect(page.locator("#video")).to_be_visible()
    until(page, "document.querySelector('video').readyState >= 2")
    assert page.evaluate("document.querySelector('video').duration") == pytest.approx(SECONDS, abs=0.1)
    page.locator('.segment[aria-label*="wrong label"]').click()
    until(page, "Math.abs(document.querySelector('video').currentTime - 12) < 0.05")
    expect(page.locator("#detail")).to_contain_text(
        "predicted jump, 0:12.00 to 0:14.00 (2.00 s), score 0.700, wrong label"
    )
    page.evaluate("document.querySelector('video').muted = true")
    page.locator("#video-name").focus()
    page.keyboard.press("k")
    until(page, "document.querySelector('video').currentTime > 12.5")
    page.keyboard.press("k")
    until(page, "document.querySelector('video').paused")
    share = float(page.evaluate("document.querySelector('.playhead').style.getPropertyValue('--at')"))
    assert share == pytest.approx(at(page) / SECONDS, abs=0.01)


def test_a_click_beside_segments_seeks_to_that_time(page: Page) -> None:
    until(page, "document.querySelector('video').readyState >= 1")
    box = page.locator(".axis").bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + 4)
    until(page, f"Math.abs(document.querySelector('video').currentTime - {SECONDS / 4}) < 0.1")


def test_the_slider_changes_the_counts_and_the_segments(page: Page) -> None:
    expect(page.locator(ALL)).to_have_text(["44.4", "66.7", "53.3", "4", "5", "2"])  # the best F1, where all count
    expect(page.locator(THIS)).to_have_text(["37.5", "75.0", "50.0", "3", "5", "1"])
    expect(page.locator(".segment.predicted")).to_have_count(8)
    slide(page, 0.45)
    expect(page.locator(ALL)).to_have_text(["33.3", "33.3", "33.3", "2", "4", "4"])
    expect(page.locator(THIS)).to_have_text(["20.0", "25.0", "22.2", "1", "4", "3"])
    expect(page.locator(".segment.predicted")).to_have_count(5)
    expect(page.locator(".segment.truth.kind-6")).to_have_count(3)
    page.locator("#slider").focus()
    page.keyboard.press("End")  # the highest score
    expect(page.locator(ALL)).to_have_text(["100.0", "16.7", "28.6", "1", "0", "5"])
    page.locator("#threshold").fill("0.45")
    page.keyboard.press("Enter")
    expect(page.locator(".segment.predicted")).to_have_count(5)
    page.get_by_role("button", name="Best F1").click()
    expect(page.locator(".segment.predicted")).to_have_count(8)
    page.locator("#own").check()  # jump from 0.35, run from 0.85
    expect(page.locator(THIS)).to_have_text(["50.0", "50.0", "50.0", "2", "2", "2"])
    expect(page.locator("#slider")).to_be_disabled()


def slide(page: Page, value: float) -> None:
    """As a pointer does: the value, and the event of a slider that moves."""
    page.locator("#slider").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value
    )


def test_another_tiou_changes_what_is_right(page: Page) -> None:
    page.locator("#tiou").select_option("0.2")
    expect(page.locator(f"{THIS} >> nth=3")).to_have_text("3")
    expect(page.locator('.segment[aria-label*="double detection"]')).to_have_count(2)  # 7.0 to 9.5 overlaps 0.29
    page.locator("#tiou").select_option("0.5")
    expect(page.locator('.segment[aria-label*="double detection"]')).to_have_count(1)


def test_filters_by_class_and_by_kind_of_error(page: Page) -> None:
    kinds = ["right", "double detection", "wrong label", "localization", "confusion", "background", "missed"]
    assert [text.split(maxsplit=1)[1] for text in page.locator("#kinds button").all_inner_texts()] == kinds
    for kind, count in zip(kinds, [3, 1, 1, 1, 1, 1, 1], strict=True):
        expect(page.locator("#kinds button", has_text=kind)).to_contain_text(str(count))
    page.locator("#kinds button", has_text="right").click()
    page.locator("#kinds button", has_text="missed").click()
    expect(page.locator(".segment.predicted")).to_have_count(5)
    expect(page.locator(".segment.truth.kind-6")).to_have_count(0)
    expect(page.locator("#kinds button", has_text="missed")).to_have_attribute("aria-pressed", "false")
    expect(page.locator(ALL)).to_have_text(["44.4", "66.7", "53.3", "4", "5", "2"])  # it hides, and changes no number
    page.locator("#class").select_option(label="jump")
    expect(page.locator(ALL)).to_have_text(["33.3", "33.3", "33.3", "1", "2", "2"])
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator(".segment.predicted")).to_have_count(2)


def test_keys_go_from_error_to_error(page: Page) -> None:
    page.locator("#video-name").focus()
    order = ["double detection", "score 0.600, localization", "confusion", "wrong label", "missed", "background"]
    for words in [*order, order[0]]:
        page.keyboard.press("n")
        expect(page.locator("#detail")).to_contain_text(words)
    page.keyboard.press("p")
    expect(page.locator("#detail")).to_contain_text(order[-1])
    until(page, "Math.abs(document.querySelector('video').currentTime - 18.5) < 0.05")
    page.keyboard.press("ArrowLeft")
    until(page, "Math.abs(document.querySelector('video').currentTime - 13.5) < 0.05")


def test_keys_choose_videos_and_help_lists_all_keys(page: Page) -> None:
    page.locator("#video-name").focus()
    names = page.locator("#videos .name").all_inner_texts()
    assert sorted(names) == sorted(["first", "second", HOSTILE])
    assert names[0] == HOSTILE  # nothing found: the worst
    page.keyboard.press("]")
    expect(page.locator("#video-name")).to_have_text("second")
    page.keyboard.press("[")
    expect(page.locator("#video-name")).to_have_text("first")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    for text in ("next error", "previous error", "play, pause", "zoom in"):
        expect(page.locator("#help")).to_contain_text(text)
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("/")
    page.keyboard.type("sec n")  # words in any place; n is no key while one types
    expect(page.locator("#videos .name")).to_have_text(["second"])


def test_segments_are_reached_by_tab_and_arrows_and_enter_seeks(page: Page) -> None:
    page.locator("#zoom-in").focus()
    page.keyboard.press("Tab")
    first = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert first == segment(page, "true run, 0:01.00")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("true run, 0:12.00")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("predicted run, 0:12.00")
    page.keyboard.press("Enter")
    until(page, "Math.abs(document.querySelector('video').currentTime - 12) < 0.05")
    page.keyboard.press("Tab")  # one stop for all segments
    assert page.evaluate("document.activeElement.closest('.timeline') === null")
    unnamed = "one => !(one.getAttribute('aria-label') || one.innerText.trim() || one.labels?.length)"
    assert page.evaluate(f"[...document.querySelectorAll('button, input, select')].filter({unnamed}).length") == 0


@pytest.mark.parametrize("width", [1280, 768, 390, 360])
def test_nothing_is_wider_than_the_page(browser: Browser, address: str, watched: Watched, width: int) -> None:
    for page in opened(browser, address, watched, width):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        right = (
            "Math.max(...[...document.querySelectorAll('.controls *')].map(one => one.getBoundingClientRect().right))"
        )
        assert page.evaluate(f"{right} <= document.querySelector('main').getBoundingClientRect().right + 1")
        before = page.locator(".inner").bounding_box()
        page.locator("#zoom-in").click()
        after = page.locator(".inner").bounding_box()
        assert before
        assert after
        assert after["width"] > 1.5 * before["width"]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_time_that_is_not_annotated_is_shaded_and_named(page: Page) -> None:
    expect(page.locator("#unannotated")).to_be_hidden()
    page.locator("#videos button", has_text="second").click()
    expect(page.locator("#video-name")).to_have_text("second")
    expect(page.locator("#unannotated")).to_contain_text("not annotated")
    shades = page.locator(".track.true .unannotated")
    styles = [shades.nth(number).evaluate("one => [one.style.left, one.style.width]") for number in range(2)]
    assert styles == [["40%", "20%"], ["75%", "25%"]]
    expect(page.locator(".unannotated")).to_have_count(2 * 2 + 1)


def test_a_hostile_name_is_text_and_a_video_without_a_file_says_why(page: Page) -> None:
    page.locator("#videos button", has_text=HOSTILE).click()
    expect(page.locator("#video-name")).to_have_text(HOSTILE)
    expect(page.locator("#without")).to_contain_text("No file of this name is in videos.")
    expect(page.locator("#video")).to_be_hidden()
    expect(page.locator(".segment.truth.kind-6")).to_have_count(1)
    page.locator(".segment.truth").click()  # the playhead moves without a video, too
    assert float(page.evaluate("document.querySelector('.playhead').style.getPropertyValue('--at')")) == 1 / SECONDS
    assert page.locator("img").count() == 0


def test_an_avi_is_converted_on_request(browser: Browser, folder: Path, watched: Watched) -> None:
    with viewing(folder, "run", "avi") as (address, _):
        for page in opened(browser, address, watched):
            expect(page.locator("#without")).to_contain_text("Browsers do not play the container AVI")
            expect(page.locator("#cache-note")).to_contain_text(f"{folder}/cache/actloc/viewer, at most 10 GB")
            page.get_by_role("button", name="Convert it for the browser").click()
            expect(page.locator("#video")).to_be_visible(timeout=60_000)
            until(page, "document.querySelector('video').readyState >= 2")
            page.locator('.segment[aria-label*="background"]').click()
            until(page, "Math.abs(document.querySelector('video').currentTime - 18.5) < 0.05")
        assert len(list((folder / "cache").rglob("*.mp4"))) == 1


def test_predictions_alone_have_no_precision(browser: Browser, folder: Path, watched: Watched) -> None:
    alone = folder / "found.json"
    alone.write_bytes((folder / "run/eval/test/predictions.json").read_bytes())
    with viewing(folder, "found.json") as (address, _):
        for page in opened(browser, address, watched):
            expect(page.locator(ALL)).to_have_text([UNMEASURED] * 6)
            expect(page.locator("#numbers-scope")).to_contain_text("Without truth there is no precision")
            expect(page.locator(".segment")).to_have_count(len(PREDICTIONS["first"]))
            expect(page.locator("#kinds")).to_be_hidden()
            slide(page, 0.45)
            expect(page.locator(".segment")).to_have_count(5)
            expect(page.locator("#without")).to_contain_text("No file of this video is known")
