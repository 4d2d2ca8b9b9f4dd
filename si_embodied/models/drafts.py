"""Drafts of an answer's next tokens, which the model verifies in one pass (speculative decoding)."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FEWEST, _MOST = 1, 64  # length of a draft from an earlier answer, tokens
_COPIED = 2  # length of a draft from the prompt, tokens: names are short
_MATCH = 2  # tokens that must match before their continuation in an earlier answer is drafted


class Drafts:
    """Drafts from earlier answers and from the prompt.

    Re-plans mostly repeat the last plan, with a coordinate changed here and there, so a draft follows the last answer.
    Where the answer has diverged, the draft is what followed the same tokens in an earlier answer, the last one first;
    failing that, what follows the same word in the prompt, because answers name objects as the prompt does. A draft's
    length grows with every draft accepted and shrinks with every one rejected, because verifying a wrong token costs
    time too.
    """

    def __init__(
        self, earlier: Sequence[Sequence[int]], prompt: Sequence[int], text: Callable[[int], str]
    ) -> None:  # fmt: skip
        """Draft from `earlier` answers, the last one first, then from `prompt`; `text` maps a token to its text."""
        self._earlier = [list(answer) for answer in earlier]
        self._followed = self._earlier[0] if self._earlier else []
        self._prompt, self._text = list(prompt), text
        self._width = _MOST
        self._shift = 0  # position in the answer that is followed minus position in the answer
        self._copying = False

    def propose(self, answer: Sequence[int]) -> list[int]:
        """A draft of what follows `answer`; often empty."""
        position = len(answer) + self._shift
        tail = list(answer[-_MATCH:])
        self._copying = False
        if self._followed[max(0, position - len(tail)) : position] != tail:
            if found := self._find(tail, position):
                self._followed, position = found
                self._shift = position - len(answer)
            elif copied := self._copy(tail):
                self._copying = True
                return copied
        return self._followed[position : position + self._width]

    def _find(self, tail: list[int], near: int) -> tuple[list[int], int] | None:
        """The last answer that contains `tail`, and there the end of the occurrence nearest to `near`."""
        for answer in self._earlier:
            if end := _after(answer, tail, near):
                return answer, end
        return None

    def learn(self, proposed: int, accepted: int) -> None:
        """Adapt the draft length to how many tokens of the last draft were accepted."""
        if self._copying:
            return
        if accepted == proposed:
            self._width = min(_MOST, 2 * self._width)
        else:
            self._width = max(_FEWEST, min(self._width // 2, 2 * accepted))

    @cached_property
    def _words(self) -> list[str]:
        """The text of each token of the prompt; takes a millisecond for a thousand."""
        return [self._text(token).strip() for token in self._prompt]

    def _copy(self, tail: list[int]) -> list[int]:
        """What follows the last occurrence of the answer's last word in the prompt, ignoring leading spaces."""
        word = self._text(tail[-1]).strip() if tail else ""
        if not word.isalpha() or word not in self._words:
            return []
        after = len(self._words) - self._words[::-1].index(word)
        return self._prompt[after : after + _COPIED]


def _after(tokens: list[int], tail: list[int], near: int) -> int | None:
    """The end of the occurrence of `tail` in `tokens` that is nearest to `near`, if there is one."""
    size = len(tail)
    if size < _MATCH:
        return None
    ends = [end for end in range(size, len(tokens)) if tokens[end - size : end] == tail]
    return min(ends, key=lambda end: abs(end - near), default=None)
