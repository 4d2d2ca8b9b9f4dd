"""Pairs colour and depth images by stamp; messages may arrive in any order."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from si_embodied.ros_nodes.sensing.bridge import Message, seconds


@dataclass(frozen=True, slots=True)
class Pair:
    """An image, and the depth image taken with it if there is one."""

    stamp_s: float  # of the image
    image: Message
    depth: Message | None


class StampSynchroniser:
    """Keeps the last colour and depth images of one camera, as messages: only those planned on are decoded."""

    def __init__(self, *, slop_s: float, keep: int = 12) -> None:
        """Pair messages at most `slop_s` apart; keep the last `keep` of each kind."""
        self._slop_s = slop_s
        self._images: deque[Message] = deque(maxlen=keep)
        self._depths: deque[Message] = deque(maxlen=keep)

    def add_image(self, message: Message) -> None:
        """Add a colour image."""
        self._images.append(message)

    def add_depth(self, message: Message) -> None:
        """Add a depth image."""
        self._depths.append(message)

    def clear(self) -> None:
        """Forget everything."""
        self._images.clear()
        self._depths.clear()

    def pairs(self, *, after_s: float = 0.0) -> list[Pair]:
        """Images taken after a time, newest first, whatever the order in which they arrived.

        If any image has depth, only those with depth: the depth of the others may still be on its way.
        """
        depths = [(seconds(depth.header.stamp), depth) for depth in self._depths]
        found: list[Pair] = []
        for image in reversed(self._images):
            stamp_s = seconds(image.header.stamp)
            if stamp_s > after_s:
                nearest = min(depths, key=lambda each: abs(each[0] - stamp_s), default=None)
                joined = nearest is not None and abs(nearest[0] - stamp_s) <= self._slop_s
                found.append(Pair(stamp_s, image, nearest[1] if nearest is not None and joined else None))
        found.sort(key=lambda pair: pair.stamp_s, reverse=True)
        return [pair for pair in found if pair.depth is not None] or found
