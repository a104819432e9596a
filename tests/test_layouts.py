"""The layouts for RViz and Foxglove name only what the nodes have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from policies.robots import get_robot
from ros_nodes.enclaves import IMAGE, MARKERS, NODES, Setting, endpoints

REPOSITORY = Path(__file__).resolve().parent.parent
RVIZ = REPOSITORY / "launch" / "rviz" / "polyarm.rviz"
FOXGLOVE = REPOSITORY / "launch" / "foxglove" / "polyarm.json"
DISPLAYED = {"rviz_default_plugins/Image": IMAGE, "rviz_default_plugins/MarkerArray": MARKERS}


def published() -> dict[str, str]:
    return {name: kind for node in NODES for name, kind in endpoints(node, Setting()).publishes.items()}


def served() -> dict[str, str]:
    return {name: kind for node in NODES for name, kind in endpoints(node, Setting()).serves.items()}


def rviz_displays() -> list[dict[str, Any]]:
    return yaml.safe_load(RVIZ.read_text())["Visualization Manager"]["Displays"]


def panels() -> dict[str, dict[str, Any]]:
    return json.loads(FOXGLOVE.read_text())["configById"]


def texts(value: Any) -> Iterator[str]:
    """Every text in a document, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from texts(key)
            yield from texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from texts(entry)


def test_rviz_shows_topics_of_the_types_that_its_displays_take():
    shown = [display for display in rviz_displays() if "Topic" in display]
    assert {display["Class"] for display in shown} == set(DISPLAYED)
    for display in shown:
        assert published()[display["Topic"]["Value"]] == DISPLAYED[display["Class"]], display["Name"]


def test_rviz_hears_cameras_of_drivers_that_publish_best_effort():
    for display in rviz_displays():
        if display["Class"] == "rviz_default_plugins/Image":
            assert display["Topic"]["Reliability Policy"] == "Best Effort"
            assert display["Topic"]["Durability Policy"] == "Volatile"


def test_rviz_stands_in_the_base_frame_of_the_robot():
    options = yaml.safe_load(RVIZ.read_text())["Visualization Manager"]["Global Options"]
    assert options["Fixed Frame"] == get_robot("panda").base_frame


def test_foxglove_names_only_topics_and_services_that_there_are():
    known = published() | served()
    named = {re.match(r"/[\w/]+", text)[0] for text in texts(panels()) if text.startswith("/")}
    assert len(named) > 5
    assert named <= set(known)


def test_foxglove_reads_every_joint():
    count = len(get_robot("panda").joint_names)
    for panel, field in (("Plot!positions", "position"), ("Plot!commands", "positions")):
        values = [path["value"] for path in panels()[panel]["paths"]]
        assert [int(re.search(rf"{field}\[(\d+)\]$", value)[1]) for value in values] == list(range(count))
        assert all(path["enabled"] for path in panels()[panel]["paths"])


def test_foxglove_places_every_panel_once():
    def placed(layout: Any) -> list[str]:
        return [layout] if isinstance(layout, str) else placed(layout["first"]) + placed(layout["second"])

    assert sorted(placed(json.loads(FOXGLOVE.read_text())["layout"])) == sorted(panels())


def test_foxglove_offers_no_emergency_stop_that_the_gateway_would_not_hear():
    """Its publishers are volatile, and the gateway's subscription to `estop` is latched: the two do not match."""
    assert not [name for name in panels() if name.startswith("Publish!")]
