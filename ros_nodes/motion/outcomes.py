"""Outcomes of goals that were sent on plain topics, as drivers report them."""

from __future__ import annotations

import json

from si_embodied.errors import MessageError
from si_embodied.types import Code, Outcome

_LONGEST = 2000
"""Characters of a report; deeper or longer JSON is not one."""
_LONGEST_MESSAGE = 300


def parsed(text: str) -> tuple[int, Outcome]:
    """The stamp of the goal (ns) and its outcome, from `{"goal_stamp_ns": 1, "code": 0, "message": ""}`.

    Raises:
        MessageError: the text is not such a report.
    """
    try:
        if len(text) > _LONGEST:
            raise ValueError(f"{len(text)} characters, at most {_LONGEST} are allowed")
        values = json.loads(text)
        stamp_ns, code = values["goal_stamp_ns"], values["code"]
        if type(stamp_ns) is not int or type(code) is not int:
            raise ValueError("goal_stamp_ns and code must be integers")
        return stamp_ns, Outcome(Code(code), str(values.get("message", ""))[:_LONGEST_MESSAGE])
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise MessageError(f"expected a goal's outcome as JSON, got: {text[:80]!r} ({str(error)[:120]})") from error
