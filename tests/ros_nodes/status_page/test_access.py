from __future__ import annotations

from http import HTTPStatus

import pytest

from ros_nodes.status_page.access import Access

TOKEN = "a-token-of-many-characters"


def test_an_address_that_others_reach_needs_a_token():
    with pytest.raises(ValueError, match=r"token_file: expected a token.*0\.0\.0\.0"):
        Access.of("0.0.0.0", "")


def test_a_token_file_is_read_and_its_token_is_not_given_away(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\nsecond line\n")
    access = Access.of("0.0.0.0", str(path))
    assert (access.token, access.given_away, access.loopback) == (TOKEN, False, False)


def test_a_token_that_is_too_short_or_missing_is_refused(tmp_path):
    (tmp_path / "token").write_text("short\n")
    with pytest.raises(ValueError, match="16"):
        Access.of("0.0.0.0", str(tmp_path / "token"))
    with pytest.raises(ValueError, match="no_such_file"):
        Access.of("127.0.0.1", str(tmp_path / "no_such_file"))


def test_on_loopback_every_start_makes_another_token():
    first, second = Access.of("127.0.0.1", ""), Access.of("127.0.0.1", "")
    assert first.given_away
    assert first.loopback
    assert len(first.token) >= 32
    assert first.token != second.token


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer é"]
)
def test_another_token_or_none_is_refused(header):
    refusal = Access(TOKEN, False, False).refuse_token({"Authorization": header})
    assert refusal.status == HTTPStatus.UNAUTHORIZED
    assert TOKEN not in refusal.reason


def test_the_token_is_accepted():
    assert Access(TOKEN, False, False).refuse_token({"Authorization": f"Bearer {TOKEN}"}) is None


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "localhost"])
def test_names_of_this_machine_are_answered(host):
    assert Access(TOKEN, True, True).refuse_host({"Host": host}) is None


@pytest.mark.parametrize("host", ["evil.example:8080", "127.0.0.1.evil.example", "", "[", "user@evil.example"])
def test_on_loopback_a_foreign_name_is_refused(host):
    assert Access(TOKEN, True, True).refuse_host({"Host": host}).status == HTTPStatus.MISDIRECTED_REQUEST


def test_elsewhere_the_token_stands_for_the_name():
    assert Access(TOKEN, False, False).refuse_host({"Host": "robot.example:8080"}) is None


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:9090", "null"])
def test_a_page_of_another_site_is_refused(origin):
    refusal = Access(TOKEN, True, True).refuse_host({"Host": "localhost:8080", "Origin": origin})
    assert refusal.status == HTTPStatus.FORBIDDEN
    own = {"Host": "localhost:8080", "Origin": "http://localhost:8080"}
    assert Access(TOKEN, True, True).refuse_host(own) is None
