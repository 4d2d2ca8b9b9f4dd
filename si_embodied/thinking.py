"""Answers that begin with the model's thoughts: `<think>…</think><answer>…</answer>`.

SenseNova-SI 1.5 answers in this form if the prompt asks for it in the words of `REQUEST`, and directly otherwise.
Source: its README (github.com/OpenSenseNova/SenseNova-SI), examples 6 and 7, where this sentence is the question.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from si_embodied.stops import Stops

if TYPE_CHECKING:
    from si_embodied.types import Prompt

THINK, THINK_END = "<think>", "</think>"
ANSWER, ANSWER_END = "<answer>", "</answer>"
REQUEST = "Enclose your thinking process in <think> </think> tags and your final answer in <answer> </answer>"


def asked_to_think(prompt: Prompt) -> Prompt:
    """The prompt with the request to think at its end, so that its beginning stays reusable."""
    return replace(prompt, content=(*prompt.content, f"\n{REQUEST}"))


def thought_in(text: str) -> str:
    """What was thought in a text that begins with a think block; the block may lack its first tag."""
    return text.partition(THINK_END)[0].strip().removeprefix(THINK).strip()


def inside_answer(text: str) -> str:
    """A text without the answer's tags around it; without tags, or as a plan, the text unchanged."""
    if text.startswith("{"):
        return text
    begun = text.removeprefix(ANSWER)
    inside, tag, _ = begun.partition(ANSWER_END)
    return inside.strip() if tag or begun != text else text


class ThoughtsInPieces:
    """The thoughts in a think block that arrives in pieces, without its tags."""

    def __init__(self) -> None:
        """Begin before the block's first tag."""
        self._opening, self._stops = THINK, Stops((THINK_END,))

    def feed(self, text: str) -> str:
        """What is known to be thought after `text` has been written."""
        tag = min(len(self._opening), len(text))
        self._opening, text = self._opening[tag:], text[tag:]
        return "" if self._stops.found else self._stops.feed(text)
