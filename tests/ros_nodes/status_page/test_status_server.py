"""The server alone, and its page in a real browser."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.execution.trajectory import JointTrajectory
from policies.robots import get_robot
from ros_nodes.status_page.access import Access
from ros_nodes.status_page.status_board import Status, StatusBoard
from ros_nodes.status_page.status_server import MAX_CONNECTIONS, Content, Pressed, StatusServer
from tests.ros_nodes.status_page.test_camera_pictures import of_colour

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PATIENCE_S = 60
SPEC = get_robot("panda")
REST = np.zeros_like(SPEC.home)


class Robot:
    """What the page is about: a board, and buttons that remember who pressed them."""

    def __init__(self) -> None:
        self.board = StatusBoard(SPEC, "/", ["front"])
        self.now = 10.0
        self.pressed: list[str] = []
        self.came = threading.Event()
        self.board.add_joints(0.0, SPEC.home, REST, self.now)
        plan = JointTrajectory(0.0, np.array([2.0]), (SPEC.home + 0.1)[None], REST[None])
        self.board.add_plan(plan, self.now)
        self.board.add_joints(1.0, SPEC.home, REST, self.now)
        self.board.pictures.add("front", of_colour((250, 120, 10)), self.now)
        self.board.see_nodes(["/policy_node", "/simulator_node"])
        self.board.see_nodes(["/policy_node"])
        self.board.add_life_cycle("/policy_node", "inactive")
        self.board.see_estop(True, [])
        self.gateway(0, "MOVING")

    def gateway(self, level: int, state: str) -> None:
        values = {"state": state, "reason": "<b>said</b> by the gateway"}
        self.board.add_status(Status("arm_gateway_node: gateway", "panda", level, state, values), self.now)

    def press(self, name: str) -> Pressed:
        self.pressed.append(name)
        if name == "estop":
            self.board.add_estop(True)
            self.gateway(2, "ESTOPPED")
        self.came.set()
        return Pressed(name != "reset", f"{name} was pressed")

    def content(self) -> Content:
        buttons: dict[str, Callable[[], Pressed]] = {
            name: lambda name=name: self.press(name) for name in ("estop", "release", "reset")
        }
        return Content(lambda: self.board.as_json(self.now), self.board.pictures.jpeg, buttons)


@pytest.fixture
def robot() -> Robot:
    return Robot()


@pytest.fixture
def access() -> Access:
    return Access.of("127.0.0.1", "")


@pytest.fixture
def server(robot: Robot, access: Access) -> Iterator[StatusServer]:
    server = StatusServer("127.0.0.1", 0, access, robot.content())
    yield server
    server.close()


def ask(server: StatusServer, method: str, path: str, token: str = "", body: bytes | None = None, **headers: str):
    connection = http.client.HTTPConnection(server.url.split("/")[2], timeout=PATIENCE_S)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_the_page_brings_its_token_on_loopback_only(server, robot, access):
    status, headers, page = ask(server, "GET", "/")
    assert status == 200
    assert access.token.encode() in page
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    other = StatusServer("127.0.0.1", 0, Access("known-to-people-only", False, False), robot.content())
    try:
        assert b"known-to-people-only" not in ask(other, "GET", "/")[2]
    finally:
        other.close()


@pytest.mark.parametrize(("path", "kind"), [("/dashboard.js", "text/javascript"), ("/dashboard.css", "text/css")])
def test_all_parts_of_the_page_come_from_the_server(server, path, kind):
    status, headers, body = ask(server, "GET", path)
    assert status == 200
    assert headers["Content-Type"].startswith(kind)
    assert b"//cdn" not in body
    assert b"https://" not in body


def test_the_state_and_pictures_need_the_token(server, access):
    for path in ("/state", "/camera/front"):
        assert ask(server, "GET", path)[0] == 401
        assert ask(server, "GET", path, access.token)[0] == 200
    assert json.loads(ask(server, "GET", "/state", access.token)[2])["robot"] == "panda"
    assert ask(server, "GET", "/camera/front", access.token)[2].startswith(b"\xff\xd8")
    assert ask(server, "GET", "/camera/..%2Fsecret", access.token)[0] == 404
    assert ask(server, "GET", "/page/index.html", access.token)[0] == 404


def test_a_button_is_pressed_by_a_post_with_the_token_and_by_nothing_else(server, robot, access):
    refused = [
        ask(server, "POST", "/estop"),
        ask(server, "POST", "/estop", "another-token-of-some-length"),
        ask(server, "POST", "/estop", access.token, Origin="http://evil.example"),
        ask(server, "POST", "/estop", access.token, Host="evil.example"),
        ask(server, "POST", "/estop", access.token, b"button=estop"),
        ask(server, "GET", "/estop", access.token),
        ask(server, "POST", "/explode", access.token),
        ask(server, "PUT", "/estop", access.token),
    ]
    assert [status for status, _, _ in refused] == [401, 401, 403, 421, 413, 404, 404, 501]
    assert robot.pressed == []
    status, _, body = ask(server, "POST", "/estop", access.token)
    assert (status, json.loads(body)) == (200, {"done": True, "message": "estop was pressed"})
    assert robot.pressed == ["estop"]


def test_a_form_of_another_site_presses_nothing(server, robot):
    """What a browser sends for a cross-site form: no header of ours, a body, and the other site's origin."""
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://evil.example"}
    assert ask(server, "POST", "/reset", "", b"a=1", **form)[0] != 200
    assert ask(server, "POST", "/reset", "", b"", **form)[0] == 403
    assert robot.pressed == []


def test_nonsense_and_silent_connections_stop_nobody(server, access):
    host, port = server.url.split("/")[2].split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(MAX_CONNECTIONS // 2)]
    try:
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as stranger:
            stranger.sendall(b"\x16\x03\x01 not http\r\n\r\n")
            assert b"400" in stranger.recv(4096)
        assert ask(server, "POST", "/estop", access.token)[0] == 200
    finally:
        for connection in silent:
            connection.close()


def test_an_address_that_is_taken_is_named(server, robot, access):
    port = int(server.url.split(":")[2].rstrip("/"))
    with pytest.raises(ValueError, match=f"found 127.0.0.1:{port}"):
        StatusServer("127.0.0.1", port, access, robot.content())


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: apt install chromium chromium-driver)")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.implicitly_wait(0)
    yield driver
    driver.quit()


def wait(browser: Any, condition: str, *arguments: Any) -> None:
    """Wait until an expression of JavaScript is true; it may use `text(id)` and `args`."""
    from selenium.webdriver.support.wait import WebDriverWait

    script = f"const text = (id) => document.getElementById(id).textContent, args = arguments; return {condition};"
    WebDriverWait(browser, PATIENCE_S, 0.05).until(lambda page: page.execute_script(script, *arguments), condition)


def test_a_person_sees_the_robot_and_stops_it(browser, server, robot):
    browser.get(server.url)
    wait(browser, "text('gateway-state') === 'MOVING'")
    wait(browser, "text('gateway-reason') === '<b>said</b> by the gateway'")  # text, never markup
    wait(browser, "document.querySelector('#camera-front img').naturalWidth === 64")
    wait(browser, "document.querySelectorAll('#nodes li').length === 2")
    nodes = browser.execute_script("return [...document.querySelectorAll('#nodes li')].map((entry) => entry.innerText)")
    assert [entry.split() for entry in nodes] == [["/policy_node", "inactive"], ["/simulator_node", "gone"]]
    # The page draws its lines anew all the time, so an element found is soon no part of it.
    for line in ("executed", "ahead"):
        wait(browser, "document.querySelector(`#tools svg path.${args[0]}`) !== null", line)
    assert len(browser.find_elements("css selector", "#joints .plot")) == len(SPEC.joint_names)
    browser.find_element("id", "estop").click()
    assert robot.came.wait(PATIENCE_S)
    wait(
        browser, "text('gateway-state') === 'ESTOPPED' && document.getElementById('recovery').dataset.needed === 'true'"
    )
    assert robot.pressed == ["estop"]
    browser.find_element("id", "reset").click()
    wait(browser, "text('answer') === 'reset was pressed'")
    assert browser.find_element("id", "answer").get_attribute("data-level") == "error"
    # The log still has what other tests' servers left behind.
    own = [entry for entry in browser.get_log("browser") if server.url in entry["message"]]
    assert [entry for entry in own if entry["level"] == "SEVERE"] == []


def test_the_escape_key_and_the_keyboard_alone_stop_it_too(browser, server, robot):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser.get(server.url)
    wait(browser, "text('gateway-state') === 'MOVING'")
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    wait(browser, "text('gateway-state') === 'ESTOPPED'")
    ActionChains(browser).send_keys(Keys.TAB, Keys.ENTER).perform()
    wait(browser, "text('answer') === 'estop was pressed'")
    assert browser.switch_to.active_element.get_attribute("id") == "estop"
    assert set(robot.pressed) == {"estop"}


def test_the_page_fits_a_telephone(browser, server):
    size = {"width": 360, "height": 700, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get(server.url)
        wait(browser, "text('gateway-state') === 'MOVING'")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= size["width"]
        assert browser.find_element("id", "estop").rect["height"] >= 44
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_lost_connection_is_said_plainly(browser, robot, access):
    server = StatusServer("127.0.0.1", 0, access, robot.content())
    browser.get(server.url)
    wait(browser, "text('gateway-state') === 'MOVING'")
    assert not browser.find_element("id", "lost").is_displayed()
    robot.board.as_json = lambda now: threading.Event().wait(PATIENCE_S)  # answers no more, as on a dead network
    server.close()
    wait(browser, "!document.getElementById('lost').hidden")
    assert "Connection lost" in browser.find_element("id", "lost").text
    assert browser.find_element("id", "gateway-state").text == "unknown"
    assert browser.find_element("id", "estop").is_enabled()


def test_where_others_reach_the_page_it_asks_for_the_token(browser, robot):
    server = StatusServer("127.0.0.1", 0, Access("known-to-people-only", False, False), robot.content())
    try:
        browser.get(server.url)
        for typed, shown in (("a-wrong-one-of-length", "login-problem"), ("known-to-people-only", "content")):
            wait(browser, "!document.getElementById('login').hidden")
            browser.find_element("id", "token").clear()
            browser.find_element("id", "token").send_keys(typed)
            browser.find_element("css selector", "#login button").click()
            wait(browser, "text(args[0]) !== '' && !document.getElementById(args[0]).hidden", shown)
        wait(browser, "text('gateway-state') === 'MOVING'")
    finally:
        server.close()


def test_the_colours_follow_the_persons_choice(browser, server):
    shades = {}
    for scheme in ("light", "dark"):
        feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        browser.get(server.url)
        shades[scheme] = browser.find_element("tag name", "body").value_of_css_property("background-color")
    assert shades["light"] != shades["dark"]


def test_everything_of_the_page_is_installed(repository: Path):
    page = repository / "ros_nodes" / "status_page" / "page"
    assert {path.name for path in page.iterdir()} == {"index.html", "dashboard.js", "dashboard.css"}
