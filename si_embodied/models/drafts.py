"""Guesses at how an answer goes on, for the model to check several tokens in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_FEWEST, _MOST = 1, 64  # tokens guessed at a time
_MATCH = 2  # tokens that must agree before what followed them is guessed again


class Drafts:
    """Follows the last answer; where the answer has left it, what once followed the same tokens.

    Re-plans mostly repeat: a coordinate changes, and the rest stays. How much is guessed grows with every guess that
    was right and shrinks with every one that was wrong, because a wrong token costs a part of a pass too.
    """

    def __init__(self, last_answer: Sequence[int], prompt: Sequence[int]) -> None:
        """Guess from `last_answer` first, then from the `prompt`."""
        self._last, self._prompt = list(last_answer), list(prompt)
        self._width = _MOST
        self._shift = 0  # where in the last answer the answer is, counted from where it is itself

    def propose(self, answer: Sequence[int]) -> list[int]:
        """What may follow `answer`; often nothing."""
        position = len(answer) + self._shift
        tail = list(answer[-_MATCH:])
        if self._last[max(0, position - len(tail)) : position] != tail:
            if found := _after(self._last, tail, position):
                position, self._shift = found, found - len(answer)
            elif found := _after(self._prompt, tail, len(self._prompt)):
                return self._prompt[found : found + self._width]
        return self._last[position : position + self._width]

    def learn(self, proposed: int, accepted: int) -> None:
        """Take note of how good a guess was."""
        if accepted == proposed:
            self._width = min(_MOST, 2 * self._width)
        else:
            self._width = max(_FEWEST, min(self._width, 2 * accepted, self._width // 2))


def _after(tokens: list[int], tail: list[int], near: int) -> int | None:
    """Where `tail` ends in `tokens`, the place nearest to `near`."""
    size = len(tail)
    if size < _MATCH:
        return None
    ends = [end for end in range(size, len(tokens)) if tokens[end - size : end] == tail]
    return min(ends, key=lambda end: abs(end - near), default=None)
