"""A planning server whose model does what the instruction says: "turn 90", "wait 0.5" (then turns), "break", "none".

The address stands in the first line of the output. Arguments are `ServeOptions` as JSON.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time

from si_embodied.backends import ScriptedBackend
from si_embodied.errors import BackendError
from si_embodied.serving.options import Limits, ServeOptions
from si_embodied.serving.run import serve
from si_embodied.serving.service import PlanningService
from si_embodied.types import Prompt


class Model(ScriptedBackend):
    """Obeys."""

    def __init__(self) -> None:
        super().__init__(self.answer, name="obedient")
        self.canceled = threading.Event()

    def cancel(self) -> None:
        self.canceled.set()

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
