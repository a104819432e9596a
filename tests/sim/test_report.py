from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import sim.report
from sim.episode_id import EpisodeId
from sim.protocol import EvaluationProtocol
from sim.summary import write_results
from tests.sim.synthetic_run import PROTOCOL, describe, result, results


class References(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href", "poster") and value]


def references(page: str) -> list[str]:
    parser = References()
    parser.feed(page)
    return parser.found


def test_the_page_holds_its_videos_and_loads_nothing_else(tmp_path: Path) -> None:
    write_results(tmp_path, results(videos=True), describe())
    page = (tmp_path / "report.html").read_text()
    assert len(references(page)) == 9
    assert all(reference.startswith("data:") for reference in references(page))
    assert not re.search(r"url\(|@import|https?://", page)


def test_large_videos_are_referred_to_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.report, "EMBEDDED_VIDEO_BYTES", 1000)
    write_results(tmp_path, results(videos=True), describe())
    videos = [name for name in references((tmp_path / "report.html").read_text()) if not name.startswith("data:")]
    assert len(videos) == 8
    assert all((tmp_path / name).is_file() for name in videos)


def test_the_headline_is_the_first_suite(tmp_path: Path) -> None:
    write_results(tmp_path, results(), describe())
    page = (tmp_path / "report.html").read_text()
    assert "5 of 8" in page
    assert "python -m sim.evaluate --policy made_up" in page


def test_names_and_instructions_are_escaped(tmp_path: Path) -> None:
    protocol = EvaluationProtocol(("reach",), episodes=1)
    attack = "<script>alert(1)</script>"
    write_results(
        tmp_path, [result(EpisodeId("reach", "nominal", 1, 0, 0), True, instruction=attack)], describe(protocol, attack)
    )
    page = (tmp_path / "report.html").read_text()
    assert attack not in page
    assert page.count("&lt;script&gt;alert(1)") >= 2


def visible(browser: Any, selector: str) -> list[tuple[str, str]]:
    """Task and outcome of the elements that can be seen."""
    found = browser.find_elements("css selector", selector)
    return [(e.get_attribute("data-task"), e.get_attribute("data-outcome")) for e in found if e.is_displayed()]


def press(browser: Any, name: str, value: str) -> None:
    button = browser.find_element("css selector", f'button[data-filter="{name}"][data-value="{value}"]')
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert button.get_attribute("aria-pressed") == "true"


def test_a_reader_filters_videos_and_episodes_by_task_and_outcome(tmp_path: Path, browser: Any) -> None:
    write_results(tmp_path / "run", results(videos=True), describe())
    moved = shutil.copytree(tmp_path / "run", tmp_path / "copied elsewhere")
    browser.get((moved / "report.html").as_uri())
    assert len(visible(browser, ".card")) == 8

    press(browser, "task", "pick")
    assert visible(browser, ".card") == [("pick", "success"), ("pick", "failure")] * 2
    press(browser, "outcome", "failure")
    assert visible(browser, ".card") == [("pick", "failure")] * 2
    assert visible(browser, ".episodes tbody tr") == [("pick", "failure")] * 6
    assert browser.find_element("id", "video-count").text == "2"
    press(browser, "suite", "lighting")
    assert len(visible(browser, ".card")) == 1
    for name in ("task", "outcome", "suite"):
        press(browser, name, "")
    assert len(visible(browser, ".card")) == 8

    width = browser.execute_async_script(
        "const video = document.querySelector('.card video'), done = arguments[0];"
        "const answer = () => done(video.error ? video.error.message : video.videoWidth);"
        "video.onerror = answer; video.oncanplay = answer; video.load();"
    )
    assert width == 64
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert len(PROTOCOL.episode_ids()) == len(visible(browser, ".episodes tbody tr"))


def test_a_click_on_a_heading_sorts_by_number(tmp_path: Path, browser: Any) -> None:
    write_results(tmp_path / "run", results(), describe())
    browser.get((tmp_path / "run" / "report.html").as_uri())
    heading = browser.find_element("xpath", "//th[text()='progress']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", heading)
    heading.click()
    outcomes = [outcome for _, outcome in visible(browser, ".episodes tbody tr")]
    assert outcomes == ["failure"] * 6 + ["success"] * 10
    heading.click()
    outcomes = [outcome for _, outcome in visible(browser, ".episodes tbody tr")]
    assert outcomes == ["success"] * 10 + ["failure"] * 6
