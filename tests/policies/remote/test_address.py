from __future__ import annotations

import pytest

from policies.remote.address import Address, is_address


def test_options_stand_behind_the_address():
    assert Address.parse("ws://arm:8765") == Address("ws://arm:8765", 10.0, "raw")
    assert Address.parse("wss://[::1]:1/?limit_s=0.5&images=png") == Address("wss://[::1]:1", 0.5, "png")
    assert is_address("ws://arm:8765")
    assert not is_address("random")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://arm:1", "expected ws://host:port or wss://host:port, found 'http://arm:1'"),
        ("ws://arm", "expected ws://host:port"),
        ("ws://:1", "expected ws://host:port"),
        ("ws://arm:1/policy", "expected ws://host:port"),
        ("ws://arm:70000", "out of range"),
        ("ws://me:secret@arm:1", "expected the token in the environment"),
        ("ws://arm:1?limit=1", r"expected options limit_s and images, found \['limit'\]"),
        ("ws://arm:1?limit_s=0", "limit_s: expected seconds above 0, found '0'"),
        ("ws://arm:1?limit_s=nan", "limit_s: expected"),
        ("ws://arm:1?limit_s=inf", "limit_s: expected"),
        ("ws://arm:1?limit_s=soon", "limit_s: expected"),
        ("ws://arm:1?limit_s=", "limit_s: expected"),
        ("ws://arm:1?images=gif", "images: expected one of .*, found 'gif'"),
    ],
)
def test_what_is_no_address_is_refused_with_what_was_expected(text, words):
    with pytest.raises(ValueError, match=words):
        Address.parse(text)


def test_the_error_about_a_token_in_an_address_does_not_show_it():
    with pytest.raises(ValueError, match="policy server") as caught:
        Address.parse("ws://me:secret@arm:1")
    assert "secret" not in str(caught.value)
