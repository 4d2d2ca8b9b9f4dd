"""Where a page is served; imports no server library."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from typing_extensions import Doc

PAGE_HOST = Doc("address to listen at; other machines can reach any but this machine's own, with the page's key")
PAGE_PORT = Doc("0 picks a free port")


def new_key() -> str:
    """A key of 192 random bits that can stand in a URL."""
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True)
class PageAddress:
    """Where a page is, and the key that its address ends with."""

    host: str = "127.0.0.1"
    port: int = 8430
    key: str = field(default_factory=new_key, repr=False)
