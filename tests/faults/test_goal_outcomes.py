"""Reports about goals, as drivers send them on plain topics: a malformed one is refused, nothing else is raised."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from si_embodied.errors import MessageError
from si_embodied.ros_nodes.motion.outcomes import parsed
from si_embodied.types import Code, Outcome


def test_an_outcome_names_its_goal() -> None:
    report = {"goal_stamp_ns": 7, "code": int(Code.BLOCKED), "message": "a chair"}
    assert parsed(json.dumps(report)) == (7, Outcome(Code.BLOCKED, "a chair"))
    assert parsed('{"goal_stamp_ns": 7, "code": 0}') == (7, Outcome(Code.OK))


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "{}", "7", '"text"', "[" * 200_000, "[" * 1_900,
        '{"goal_stamp_ns": Infinity, "code": 0}', '{"goal_stamp_ns": NaN, "code": 0}',
        '{"goal_stamp_ns": 1, "code": Infinity}', '{"goal_stamp_ns": 1, "code": 12345}',
        '{"goal_stamp_ns": true, "code": 0}', '{"goal_stamp_ns": "1", "code": 0}', '{"goal_stamp_ns": 1}',
        '{"goal_stamp_ns": ' + "9" * 5_000 + ', "code": 0}', '{"goal_stamp_ns": 1, "code": [0]}',
        '{"goal_stamp_ns": 1, "code": 0, "message": "' + "x" * 3_000 + '"}',
    ],
)  # fmt: skip
def test_a_malformed_outcome_is_refused(text: str) -> None:
    with pytest.raises(MessageError, match="expected a goal's outcome"):
        parsed(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["goal_stamp_ns", "code"]), inner),
)


@given(st.one_of(st.text(), JSON.map(json.dumps)))
def test_whatever_a_driver_reports_is_an_outcome_or_refused(text: Any) -> None:
    try:
        stamp_ns, outcome = parsed(text)
    except MessageError:
        return
    assert type(stamp_ns) is int
    assert outcome.code in Code
