"""`Address`: where a policy server is, as it stands in place of a policy's name."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import parse_qs, urlsplit

SCHEMES = ("ws", "wss")
LIMIT_S = 10.0
Compression = Literal["raw", "png", "jpeg"]
"""How colour images travel: `png` keeps every bit, `jpeg` does not; `raw` takes no time to make."""
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and how to talk to it.

    Attributes:
        url: `ws://host:port`, or `wss://host:port` for TLS with a certificate that this machine trusts.
        limit_s: longest time from a request to its answer.
        images: how colour images are sent.
    """

    url: str
    limit_s: float = LIMIT_S
    images: Compression = "raw"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `ws://host:port`, with `?limit_s=2&images=jpeg` behind it where the defaults do not fit.

        Raises:
            ValueError: not such an address; says what was expected and found.
        """
        parts = urlsplit(text)
        if parts.scheme not in SCHEMES or not parts.hostname or parts.port is None or parts.path not in ("", "/"):
            raise ValueError(f"policy server: expected ws://host:port or wss://host:port, found {text!r}")
        if parts.username is not None:
            raise ValueError("policy server: expected the token in the environment, found one in the address")
        options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        unknown = set(options) - {"limit_s", "images"}
        if unknown:
            raise ValueError(f"policy server: expected options limit_s and images, found {sorted(unknown)}")
        images, limit = options.get("images", "raw"), options.get("limit_s", str(LIMIT_S))
        if images not in COMPRESSIONS:
            raise ValueError(f"policy server: images: expected one of {COMPRESSIONS}, found {images!r}")
        try:
            limit_s = float(limit)
        except ValueError:
            limit_s = 0.0
        if not 0 < limit_s <= threading.TIMEOUT_MAX:
            raise ValueError(f"policy server: limit_s: expected seconds above 0, found {limit!r}")
        return cls(f"{parts.scheme}://{parts.netloc}", limit_s, images)


def is_address(name: str) -> bool:
    """Whether a policy's name is the address of a server."""
    return name.startswith(tuple(f"{scheme}://" for scheme in SCHEMES))
