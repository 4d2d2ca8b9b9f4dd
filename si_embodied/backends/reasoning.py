"""What a server's reply says the model thought, apart from its answer.

Servers put the thoughts before the answer, between tags, or into a field of their own.
"""

from __future__ import annotations

import re
from typing import Any

from si_embodied.thinking import inside_answer

_REASONING = ("reasoning_content", "reasoning")
"""Where servers put a thinking model's text; some put the whole answer there when they find no end of the thinking."""
THOUGHT = re.compile(r"<think(ing)?>|<thought>|<reasoning>|\[THINK\]|<\|begin_of_thought\|>", re.IGNORECASE)
_THOUGHT_END = re.compile(r"</think(ing)?>|</thought>|</reasoning>|\[/THINK\]|<\|end_of_thought\|>", re.IGNORECASE)
_SPECIAL_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|end|>", "<|eot_id|>", "</s>")
BLANK = " \t\r\n\ufeff"
"""White space, and the byte order mark."""


def split_reasoning(text: str) -> tuple[str, str]:
    """What the model thought, and its answer without a byte order mark and trailing special tokens.

    After a thought, answer tags are removed too; a task that asks for them without thoughts gets them.

    Thinking that does not end is left in the answer: plans inside it are drafts, and the plan parser rejects the text.
    """
    text = text[: _end_of_text(text)].strip(BLANK)
    if text.startswith("{"):  # a plan is kept as it is, even if a text in it contains a tag
        return "", text
    ends = list(_THOUGHT_END.finditer(text))
    if not ends:
        return "", text
    begun = THOUGHT.match(text)
    thought = text[begun.end() if begun else 0 : ends[-1].start()]
    return thought.strip(BLANK), inside_answer(text[ends[-1].end() :].strip(BLANK))


def _end_of_text(text: str) -> int:
    """The length of a text without trailing special tokens and white space."""
    end = len(text)
    while end:
        if text[end - 1] in BLANK:
            end -= 1
        elif token := next((token for token in _SPECIAL_TOKENS if text.endswith(token, 0, end)), ""):
            end -= len(token)
        else:
            break
    return end


def message_text(message: Any) -> tuple[str | None, str]:
    """The text of a message and its reasoning: the content, or the reasoning in its place if that is all there is."""
    content = message.get("content")
    if isinstance(content, list):  # of parts, of which those with "type": "thinking" have no text
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    thoughts = [text for text in map(message.get, _REASONING) if isinstance(text, str)]
    thought = next((text.strip(BLANK) for text in thoughts if text.strip(BLANK)), "")
    if isinstance(content, str) and (content.strip(BLANK) or not thought):
        return content, thought
    return (_as_answer(thought) if thoughts else None), ""


def _as_answer(reasoning: str) -> str:
    """Reasoning in the place of an answer: what does not end with the answer is thinking that has not ended."""
    ends_with_it = reasoning[: _end_of_text(reasoning)].endswith(("}", "```"))
    return reasoning if ends_with_it else f"<think>{reasoning}"
