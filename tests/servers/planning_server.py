"""A planning server whose model does what the instruction says: "turn 90", "wait 0.5" (then turns), "break", "none".

In chats, "count 9 every 0.1" gets "1 2 3 …", one number every 0.1 s, "think 3" three thoughts before its answer,
"settings" the conversation's settings, "break" an exception, and anything else a description of what was sent.
The address stands in the first line of the output. Arguments are `ServeOptions` as JSON.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Generator

from si_embodied.backends import ScriptedBackend
from si_embodied.conversation import Conversation, Ending, Thought, Turn
from si_embodied.errors import BackendError
from si_embodied.serving.options import Limits, ServeOptions
from si_embodied.serving.run import serve
from si_embodied.serving.service import PlanningService
from si_embodied.types import Prompt


class Spoken:
    """A `Writing` with a text known beforehand."""

    def __init__(self, words: list[str | Thought], every_s: float, interrupted: threading.Event, most: int) -> None:
        self._words, self._every_s, self._interrupted = words[:most], every_s, interrupted
        self._most = most
        self.prompt_tokens, self.completion_tokens, self.thought_tokens = 7, 0, 0
        self.ended: Ending | None = None

    def rest(self) -> None:
        pass

    def pieces(self) -> Generator[str | Thought, None, None]:
        if self._words == ["user: break"]:
            raise ZeroDivisionError("as asked for")
        while self.completion_tokens < len(self._words):
            if self._interrupted.wait(self._every_s):
                return
            self.completion_tokens += 1
            word = self._words[self.completion_tokens - 1]
            self.thought_tokens += isinstance(word, Thought)
            yield word
        self.ended = "length" if len(self._words) == self._most else "stop"


def described(turn: Turn) -> str:
    parts = (
        part if isinstance(part, str) else f"[{part.shape[1]}x{part.shape[0]} {part[0, 0]}]" for part in turn.content
    )
    return f"{turn.role}: {''.join(parts)}"


class Model(ScriptedBackend):
    """Obeys."""

    def __init__(self) -> None:
        super().__init__(self.answer, name="obedient")
        self.canceled = threading.Event()

    def cancel(self) -> None:
        self.canceled.set()

    def write(self, conversation: Conversation, *, interrupted: threading.Event) -> Spoken:
        said = "".join(part for part in conversation.turns[-1].content if isinstance(part, str))
        words: list[str | Thought] = ["; ".join(described(turn) for turn in conversation.turns)]
        every_s = 0.0
        if said == "settings":
            names = ("schema", "lenient", "temperature", "seed", "max_tokens")
            words = [json.dumps({name: getattr(conversation, name) for name in names})]
        if match := re.fullmatch(r"count (\d+) every ([\d.]+)", said):
            words, every_s = [f"{number} " for number in range(1, int(match[1]) + 1)], float(match[2])
        if match := re.fullmatch(r"think (\d+)", said):
            words = [*(Thought(f"thought {number} ") for number in range(1, int(match[1]) + 1)), *words]
        return Spoken(words, every_s, interrupted, conversation.max_tokens)

    def answer(self, prompt: Prompt) -> str:
        self.canceled.clear()
        match = re.search(r"(turn|wait|break|none) ?([\d.]*)", prompt.text)
        word, value = match.groups() if match else ("none", "")
        if word == "break":
            raise ZeroDivisionError("as asked for")
        if word == "none":
            return "no plan"
        if word == "wait":
            if self.canceled.wait(float(value)):
                raise BackendError("canceled")
            value = "1"
        return f'{{"subgoals":[{{"skill":"turn","degrees":{value}}}],"done":false}}'


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def end_with_parent() -> None:
    sys.stdin.read()
    time.sleep(1)
    os._exit(1)


threading.Thread(target=end_with_parent, daemon=True).start()
given = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
limits = Limits(**given.pop("limits", {"per_s": 1000.0, "burst": 1000}))
options = ServeOptions(**{"port": 0, **given}, limits=limits)
serve(PlanningService(Model()), options, ready=say)
say("stopped")
