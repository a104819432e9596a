"""A page of one file in a real browser: what it says on the console, asks the network for, and shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple


class OpenedPage(NamedTuple):
    """What was seen of a page.

    Attributes:
        console: all messages on it, errors of scripts among them.
        requests: addresses that were asked for, but for the page's own and for what stands in it (`data:`).
        areas: pixels of each plot and picture as laid out, from the top.
        overflow: how far the page reaches beyond the window to the right, pixels.
    """

    console: list[str]
    requests: list[str]
    areas: list[float]
    overflow: float


def opened_page(browser: Any, page: Path) -> OpenedPage:
    """Open a file and look at it, see `OpenedPage`."""
    browser.get(page.as_uri())
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one["params"] for one in events if one["method"] == "Network.requestWillBeSent"]
    asked = [one["request"]["url"] for one in sent if one["documentURL"] == page.as_uri()]
    assert page.as_uri() in asked  # requests are seen
    areas = browser.execute_script(
        "return [...document.querySelectorAll('svg, img')].map(one => {"
        " const box = one.getBoundingClientRect(); return box.width * box.height; })"
    )
    overflow = browser.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return OpenedPage(
        [entry["message"] for entry in browser.get_log("browser")],
        [url for url in asked if url != page.as_uri() and not url.startswith("data:")],
        areas,
        overflow,
    )
