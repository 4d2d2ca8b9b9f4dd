"""Messages between robot and planning server arrive unchanged, and everything else is rejected."""

from __future__ import annotations

import dataclasses
import math
import pickle
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("msgpack")
import msgpack

from si_embodied import (
    CameraFrame,
    Code,
    Decision,
    Execute,
    Hold,
    Intrinsics,
    NavigationMap,
    Observation,
    Outcome,
    Pose,
    Task,
    skills,
    types,
)
from si_embodied.config import GuardConfig, PlannerConfig
from si_embodied.embodiment import Embodiment, MobileBase, SkillRobot, TableArm
from si_embodied.errors import MessageError, RequestRefused
from si_embodied.memory import Attempt, Memory
from si_embodied.plan import Plan
from si_embodied.serving.messages import (
    PlanRequest,
    pack_decision,
    pack_refusal,
    pack_request,
    unpack_numbered_request,
    unpack_reply,
    unpack_request,
)
from si_embodied.skills import Goto, Navigate, Pick, Stop, Turn

GENERATOR = np.random.default_rng(4)
SOMEWHERE = Pose.from_rpy(0.1, -0.2, 2.0, (1.5, -2.5, 0.25))

GOALS: tuple[skills.Goal, ...] = (
    skills.NavigateTo(SOMEWHERE, np.array([1.0, 2.0, 3.0])),
    skills.Rotate(-0.5),
    skills.Drive(0.75),
    skills.TiltCamera(0.25),
    skills.ExploreFrontier(),
    skills.Finish(),
    skills.Grasp(SOMEWHERE, 0.04, 0.02),
    skills.Release(np.array([0.5, 0.0, 0.1])),
    skills.PushAlong(np.array([0.5, 0.0, 0.1]), np.array([0.6, 0.0, 0.1])),
    skills.GoHome(),
    skills.CallSkill(3, types.SkillOption("pick", "red mug", None), np.array([[1.0, 2.0], [3.0, 4.0]])),
)


def same(one: Any, other: Any) -> bool:
    """Deep equality, including types and dtypes; arrays bit for bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if dataclasses.is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def frame(width: int, height: int, *, depth: bool = True) -> CameraFrame:
    depth_m = GENERATOR.uniform(0.2, 9.0, (height, width)).astype(np.float32)
    depth_m[0, 0] = 0.0
    return CameraFrame(
        name="head",
        stamp_s=12.5,
        rgb=GENERATOR.integers(0, 256, (height, width, 3), dtype=np.uint8),
        depth_m=depth_m if depth else None,
        intrinsics=Intrinsics(width, height, 50.0, 51.0, width / 2, height / 2),
        T_map_camera=SOMEWHERE,
    )


def request(embodiment: Embodiment, **changes: Any) -> PlanRequest:
    """A request with a value in every field."""
    distances = GENERATOR.uniform(0, 9, (7, 5)).astype(np.float32)
    distances[2:4] = math.inf
    attempts = tuple(
        Attempt(f"try {number}", goal, SOMEWHERE, Outcome(Code.GRASP_MISSED, "slipped"))
        for number, goal in enumerate((*GOALS, None))
    )
    whole = PlanRequest(
        robot="fetch-1",
        embodiment=embodiment,
        config=PlannerConfig(deadline_s=3.5, guard=GuardConfig(max_repeats=2)),
        task=Task("bring me the «red» cup", embodiment.kind),
        observation=Observation(
            stamp_s=12.5,
            frames=(frame(31, 20), frame(16, 24, depth=False)),
            T_map_base=SOMEWHERE,
            arm=types.ArmState(SOMEWHERE, 0.05),
            navigation_map=NavigationMap(0.05, (-1.0, 2.0), distances),
            skills=types.SkillState(
                (types.SkillOption("navigate", "green sofa", np.array([[0.0, 1.0], [2.0, 3.0]])),),
                "you hold it",
                True,
                "red mug",
            ),
            goal_image=GENERATOR.integers(0, 256, (12, 10, 3), dtype=np.uint8),
        ),
        memory=Memory(12, attempts, 3, goal=types.SeenObject("goal", np.array([1.0, 2.0, 0.0]), 12.5, 0.9, 2)),
        now_s=12.75,
        deadline_s=2.5,
    )
    return dataclasses.replace(whole, **changes)


RECORD = types.PlanRecord(
    observation_stamp_s=12.5,
    prompt_version="nav/v1",
    model="si-nano",
    kernel="sdpa",
    dtype="float32",
    raw_text=("no plan \udcff", '{"done":true}'),
    prompt_tokens=500,
    completion_tokens=24,
    latency_s={"decode": 0.25, "total": 0.5},
    code=Code.OK,
    message="",
    thoughts=("The chair is \udcff left.", ""),
    shortened=3,
)
SUBGOALS = (Goto(object="red chair", view=1, point=(512, 730)), Turn(degrees=-90), Stop())


def test_a_request_survives_encoding(base: MobileBase, arm: TableArm) -> None:
    for embodiment in (base, arm, SkillRobot(("head",), "skill", 1.0, 5.0)):
        sent = request(embodiment)
        assert same(unpack_request(pack_request(sent)), sent)


@pytest.mark.parametrize(
    "decision",
    [
        Execute(GOALS[:4], SUBGOALS, Plan(subgoals=SUBGOALS, done=False), RECORD),
        Execute((skills.Finish(),), (), Plan(reasoning="it is here", subgoals=(), done=True), RECORD),
        *(Execute((goal,), SUBGOALS[:1], Plan(subgoals=SUBGOALS, done=True), RECORD) for goal in GOALS),
        Hold(dataclasses.replace(RECORD, code=Code.NO_GRASP), Plan(
            subgoals=(Pick(object="cup", view=0, point=(0, 1000)),), done=False)),
        Execute((GOALS[-1],), (Navigate(object="green sofa"),), Plan(
            subgoals=(Navigate(object="green sofa"),), done=False), RECORD),
        Hold(dataclasses.replace(RECORD, code=Code.BACKEND_FAILED, message="gone \udcff")),
        Hold(dataclasses.replace(RECORD, code=Code.UNSURE, decision_probability=0.25, point_probability=1e-5)),
    ],
)  # fmt: skip
def test_a_decision_survives_encoding(decision: Decision) -> None:
    assert same(unpack_reply(pack_decision(decision)), decision)


def test_a_decision_has_the_number_of_its_request(base: MobileBase) -> None:
    sent = request(base)
    assert unpack_numbered_request(pack_request(sent, number=7))[1] == 7
    assert unpack_numbered_request(pack_request(sent))[1] is None
    decision = Hold(RECORD)
    assert same(unpack_reply(pack_decision(decision, number=7), number=7), decision)
    for number in (6, None):
        with pytest.raises(MessageError, match=f"answer to request {number}, got that to request 7"):
            unpack_reply(pack_decision(decision, number=7), number=number)


@pytest.mark.parametrize("number", [-1, 1.5, True, "7", 2**63, []])
def test_an_invalid_number_is_refused(base: MobileBase, number: Any) -> None:
    with pytest.raises(MessageError, match="number: expected an integer"):
        unpack_request(msgpack.packb({**plain(base), "number": number}, unicode_errors="surrogatepass"))


def test_a_refusal_arrives_as_an_error_with_its_reason() -> None:
    with pytest.raises(RequestRefused, match="too many") as refused:
        unpack_reply(pack_refusal(RequestRefused("rate_limited", "too many", retry_after_s=1.5)))
    assert (refused.value.reason, refused.value.retry_after_s) == ("rate_limited", 1.5)


def test_compressed_images_are_small_and_accurate(base: MobileBase) -> None:
    """A smooth image, as from a camera. Depth is accurate to half a millimetre."""
    rows, columns = np.mgrid[0:480, 0:640]
    rgb = np.stack([columns // 3, rows // 2, (rows + columns) // 5], axis=-1).astype(np.uint8)
    depth = (1.0 + rows / 100).astype(np.float32)
    depth[5, :4] = (0.0, math.nan, math.inf, 70.0)
    whole = dataclasses.replace(
        frame(4, 4), rgb=rgb, depth_m=depth, intrinsics=Intrinsics(640, 480, 500.0, 500.0, 320.0, 240.0)
    )
    sent = request(base, observation=Observation(12.5, (whole,), SOMEWHERE))
    message = pack_request(sent, compressed=True)
    assert len(message) < len(pack_request(sent)) / 10
    (got,) = unpack_request(message).observation.frames
    assert np.abs(got.rgb.astype(int) - rgb).mean() < 3
    assert got.depth_m is not None
    known = np.isfinite(depth) & (depth < 65.5)
    assert np.abs(got.depth_m - depth)[known].max() <= 0.0005 + 1e-6
    assert (got.depth_m[~known] == 0).all()


def test_decoded_images_are_not_copies(base: MobileBase) -> None:
    """They are views of the message."""
    got = unpack_request(pack_request(request(base))).observation.frames[0]
    assert not got.rgb.flags.owndata
    assert not got.rgb.flags.writeable


# --- what is refused ------------------------------------------------------------------------------------------------


def plain(base: MobileBase) -> Any:
    return msgpack.unpackb(pack_request(request(base)), unicode_errors="surrogatepass")


def change(message: Any, path: str, value: Any) -> bytes:
    *way, last = path.split(".")
    node = message
    for step in way:
        node = node[int(step) if step.isdigit() else step]
    node[int(last) if last.isdigit() else last] = value
    return msgpack.packb(message)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("version", 1, ("version 4", "1", "same release")),
        ("version", True, ("version 4",)),
        ("plan.robot", 5, ("plan.robot", "a string")),
        ("plan.robot", "x" * 101, ("plan.robot", "at most 100")),
        ("plan.surprise", 1, ("unknown: ['surprise']",)),
        ("plan.task.kind", "cooking", ("plan.task.kind", "'navigation'", "'cooking'")),
        ("plan.task.instruction", " ", ("plan.task", "empty")),
        ("plan.task.instruction", "x" * 20_001, ("plan.task.instruction", "20000")),
        ("plan.observation.frames.0.intrinsics.cx", -1e308, ("intrinsics.cx", "1000000000000.0")),
        ("plan.observation.frames.0.intrinsics.fx", 1e300, ("intrinsics.fx", "1000000000000.0")),
        ("plan.deadline_s", -1.0, ("plan.deadline_s", "0")),
        ("plan.deadline_s", math.nan, ("plan.deadline_s", "finite")),
        ("plan.deadline_s", 10.0**12, ("plan.deadline_s", "3600")),
        ("plan.deadline_s", True, ("plan.deadline_s", "a number")),
        ("plan.now_s", math.inf, ("plan.now_s", "finite")),
        ("plan.config.deadline_z", 3.0, ("plan.config", "Did you mean 'deadline_s'")),
        ("plan.config.deadline_s", -3.0, ("plan.config", "positive")),
        ("plan.config", [], ("plan.config", "a map of settings")),
        ("plan.config.deadline_s", "x" * 100_000, ("plan.config", "deadline_s", "float")),
        ("version", "x" * 100_000, ("version 4",)),
        ("plan." + "x" * 100_000, 1, ("unknown",)),
        ("plan.embodiment.0", "Submarine", ("plan.embodiment", "MobileBase")),
        ("plan.embodiment.1.action_mode", "wild", ("plan.embodiment.MobileBase.action_mode", "'discrete'")),
        ("plan.observation.frames", [0] * 9, ("plan.observation.frames", "0 to 8")),
        ("plan.observation.frames.0.rgb", b"", ("plan.observation.frames[0].rgb",)),
        ("plan.observation.frames.0.rgb.0", "pickle", ("rgb.coding", "'pickle'")),
        ("plan.observation.frames.0.rgb.0", "millimetres", ("rgb.coding",)),
        ("plan.observation.frames.0.rgb.0", "jpeg", ("not a JPEG",)),
        ("plan.observation.frames.0.rgb.1", [20, 31], ("rgb.shape",)),
        ("plan.observation.frames.0.rgb.1", [20, 31, 4], ("rgb.shape", "3")),
        ("plan.observation.frames.0.rgb.1", [20, 3100000, 3], ("rgb.shape[1]", "4096")),
        ("plan.observation.frames.0.rgb.1", [-20, -31, 3], ("rgb.shape[0]",)),
        ("plan.observation.frames.0.rgb.2", b"too few", ("1860 bytes", "got: 7")),
        ("plan.observation.frames.0.depth_m.0", "millimetres", ("not deflate-compressed",)),
        ("plan.observation.frames.0.intrinsics.width", 30, ("plan.observation.frames[0]", "intrinsics")),
        ("plan.observation.frames.0.intrinsics.fx", 0.0, ("intrinsics.fx",)),
        ("plan.observation.T_map_base.translation", b"\0" * 23, ("T_map_base.translation", "24 bytes")),
        ("plan.observation.T_map_base.rotation", b"\0" * 72, ("T_map_base", "rotation matrix")),
        ("plan.observation.T_map_base.translation", np.full(3, math.nan).tobytes(), ("finite",)),
        ("plan.memory.attempts.0.outcome.code", 999, ("outcome.code", "999")),
        ("plan.memory.attempts.0.goal.0", "Explode", ("goal", "NavigateTo")),
        ("plan.memory.limit", 0, ("plan.memory.limit",)),
    ],
)  # fmt: skip
def test_an_invalid_request_is_rejected_with_the_field(
    base: MobileBase, path: str, value: Any, words: tuple[str, ...]
) -> None:
    with pytest.raises(MessageError) as error:
        unpack_request(change(plain(base), path, value))
    assert all(word in str(error.value) for word in words), error.value
    assert len(str(error.value)) < 500


def test_a_missing_field_is_named(base: MobileBase) -> None:
    message = plain(base)
    del message["plan"]["memory"]
    with pytest.raises(MessageError, match=r"missing fields: \['memory'\].*same version"):
        unpack_request(msgpack.packb(message))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        b"hello",
        b"\x93",
        pickle.dumps({"version": 4}),
        msgpack.packb([1, 2]),
        msgpack.packb({"version": 4}),
        msgpack.packb({"version": 4, "plan": {}, "decision": {}}),
        msgpack.packb({"version": 4, "decision": {}}),
        msgpack.packb({"version": 4, "plan": None}),
        msgpack.packb({"version": 4, "plan": msgpack.ExtType(5, b"code")}),
        msgpack.packb({"version": 4, "plan": msgpack.Timestamp(5)}),
        msgpack.packb({1: 2}, strict_types=True),
        b"\x91" * 100_000 + b"\xc0",  # a list in a list in a list
        b"\x82\xa7version\x03\xa4plan" + b"\x91" * 1000 + b"\xc0",  # too deep to be printed, but not to be unpacked
        b"\xdd\xff\xff\xff\xff" + b"\x80" * 100_000,  # says that it has four billion items
        b"\xdc\x03\xe8" + (b"\xdc\x03\xe8" + b"\x80" * 1000) * 1000,  # a million empty maps
    ],
)  # fmt: skip
def test_other_bytes_are_rejected(message: bytes) -> None:
    with pytest.raises(MessageError):
        unpack_request(message)


def test_a_small_message_cannot_become_a_huge_image(base: MobileBase) -> None:
    """A message that decompresses to more than it declares, and one that declares more than it has."""
    bomb = zlib.compress(b"\0" * 100_000_000)
    assert len(bomb) < 200_000
    with pytest.raises(MessageError, match="expected 1240 decompressed bytes"):
        unpack_request(change(plain(base), "plan.observation.frames.0.depth_m", ["millimetres", [20, 31], bomb]))


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_no_bytes_raise_anything_else(message: bytes) -> None:
    for unpack in (unpack_request, unpack_reply):
        with pytest.raises(MessageError):
            unpack(message)


@given(st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=300)
def test_a_damaged_message_is_rejected_or_decoded(place: int, byte: int) -> None:
    """No other exception is raised, and no field has another type."""
    decision = Execute(GOALS[:3], SUBGOALS, Plan(subgoals=SUBGOALS, done=False), RECORD)
    message = bytearray(pack_decision(decision))
    message[place % len(message)] = byte
    try:
        got = unpack_reply(bytes(message))
    except (MessageError, RequestRefused):
        return
    assert isinstance(got, Execute)
    assert all(isinstance(goal, skills.Goal) for goal in got.goals)


def test_every_field_of_every_value_has_a_codec() -> None:
    """A field without a codec raises at import."""
    from si_embodied.serving.codec import Number, Record

    with pytest.raises(TypeError, match=r"Rotate.*\['speed'\]"):
        Record(skills.Rotate, angle_rad=Number(), speed=Number())
    with pytest.raises(TypeError, match=r"Rotate.*\['angle_rad'\]"):
        Record(skills.Rotate)
