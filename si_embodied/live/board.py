"""How frames get from an episode to the pages: latest wins, and nothing is made while no page is open."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from si_embodied.live.frame import Frame

Topic: TypeAlias = Literal["frame", "runs", "state"]


@dataclass(frozen=True, slots=True)
class News:
    """Something that a page has not been told yet."""

    topic: Topic
    key: str  # what it replaces: the frame of one worker replaces the earlier one of the same
    version: int
    data: str  # one line of JSON


class Screen(Protocol):
    """Where an episode shows itself."""

    def wanted(self) -> bool:
        """Whether a page is open. Costs microseconds."""

    def show(self, frame: Frame) -> None:
        """Replace what the pages show."""


class Source(Protocol):
    """Where pages get their news. Any thread may call it."""

    def news(self, seen: Mapping[str, int]) -> list[News]:
        """What is newer than the versions seen, by key. A page that is open asks again and again."""

    def pages(self, count: int) -> None:
        """So many pages are open now."""


class Board:
    """A screen and a source within one process."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = threading.Lock()
        self._latest: dict[str, News] = {}
        self._count = 0
        self._pages = 0  # open ones

    def wanted(self) -> bool:
        """Whether a page is open."""
        return self._pages > 0

    def pages(self, count: int) -> None:
        """So many pages are open now."""
        self._pages = count

    def show(self, frame: Frame) -> None:
        """Replace the frame."""
        self.put("frame", frame.to_json())

    def put(self, topic: Topic, data: str) -> None:
        """Replace the news of a topic by one line of JSON."""
        with self._lock:
            self._count += 1
            self._latest[topic] = News(topic, topic, self._count, data)

    def news(self, seen: Mapping[str, int]) -> list[News]:
        """What is newer than the versions seen."""
        with self._lock:
            return [each for key, each in self._latest.items() if each.version > seen.get(key, 0)]
