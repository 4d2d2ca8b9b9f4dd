"""Guesses at how an answer goes on, for the model to check several tokens in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FEWEST, _MOST = 1, 64  # tokens of the last answer guessed at a time
_COPIED = 2  # tokens of the prompt guessed at a time: names are short
_MATCH = 2  # tokens that must agree before what followed them in the last answer is guessed again


class Drafts:
    """Follows the last answer; where the answer has left it, what once followed the same words.

    Re-plans mostly repeat: a coordinate changes, and the rest stays. And an answer names things as the prompt does. How
    much of the last answer is guessed grows with every guess that was right and shrinks with every one that was wrong:
    a wrong token costs a part of a pass too.
    """

    def __init__(self, last_answer: Sequence[int], prompt: Sequence[int], text: Callable[[int], str]) -> None:
        """Guess from `last_answer` first, then from the `prompt`; `text` is that of a token."""
        self._last, self._prompt, self._text = list(last_answer), list(prompt), text
        self._words = [text(token).strip() for token in prompt]
        self._width = _MOST
        self._shift = 0  # where in the last answer the answer is, counted from where it is itself
        self._copying = False

    def propose(self, answer: Sequence[int]) -> list[int]:
        """What may follow `answer`; often nothing."""
        position = len(answer) + self._shift
        tail = list(answer[-_MATCH:])
        self._copying = False
        if self._last[max(0, position - len(tail)) : position] != tail:
            if found := _after(self._last, tail, position):
                position, self._shift = found, found - len(answer)
            elif copied := self._copy(tail):
                self._copying = True
                return copied
        return self._last[position : position + self._width]

    def learn(self, proposed: int, accepted: int) -> None:
        """Take note of how many tokens of the last guess were right."""
        if self._copying:
            return
        if accepted == proposed:
            self._width = min(_MOST, 2 * self._width)
        else:
            self._width = max(_FEWEST, min(self._width // 2, 2 * accepted))

    def _copy(self, tail: list[int]) -> list[int]:
        """What follows the answer's last word where the prompt has it last; it may begin with a space there."""
        word = self._text(tail[-1]).strip() if tail else ""
        if not word.isalpha() or word not in self._words:
            return []
        after = len(self._words) - self._words[::-1].index(word)
        return self._prompt[after : after + _COPIED]


def _after(tokens: list[int], tail: list[int], near: int) -> int | None:
    """Where `tail` ends in `tokens`, the place nearest to `near`."""
    size = len(tail)
    if size < _MATCH:
        return None
    ends = [end for end in range(size, len(tokens)) if tokens[end - size : end] == tail]
    return min(ends, key=lambda end: abs(end - near), default=None)
