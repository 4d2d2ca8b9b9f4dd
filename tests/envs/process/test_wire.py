"""Values arrive in the other Python as they were sent; invalid messages are rejected."""

from __future__ import annotations

import enum
import json
import os
import socket
import struct
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from si_embodied.embodiment import BaseAction
from si_embodied.envs.process.wire import Block, Channel
from si_embodied.errors import MessageError
from si_embodied.geometry import Pose


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[Channel, Channel]]:
    here, there = socket.socketpair()
    block = Block.create()
    yield (a := Channel(here, block)), (b := Channel(there, Block(os.dup(block.descriptor))))
    a.close()
    b.close()


def sent(ends: tuple[Channel, Channel], value: object) -> object:
    ends[0].send(ends[0].pack(value))
    return ends[1].receive(5.0)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_plain_values_arrive_as_they_were(ends: tuple[Channel, Channel], value: object) -> None:
    assert sent(ends, value) == value


@given(
    arrays.arrays(
        dtype=st.one_of(arrays.boolean_dtypes(), arrays.integer_dtypes(), arrays.floating_dtypes()),
        shape=arrays.array_shapes(min_dims=0, max_dims=4, min_side=0),
    )
)
def test_arrays_arrive_with_their_type_shape_and_bytes(ends: tuple[Channel, Channel], value: np.ndarray) -> None:
    arrived = sent(ends, {"image": value})["image"]
    assert (arrived.dtype, arrived.shape) == (value.dtype, value.shape)
    assert arrived.tobytes() == value.tobytes()


def test_an_array_that_has_arrived_is_nobody_elses(ends: tuple[Channel, Channel]) -> None:
    first = sent(ends, np.arange(5))
    sent(ends, np.zeros(5, int))
    assert first.tolist() == [0, 1, 2, 3, 4]
    first[0] = 9  # and is writable


def test_arrays_larger_than_what_went_before_find_room(ends: tuple[Channel, Channel]) -> None:
    for side in (10, 1000, 3000):
        picture = np.full((side, side), side, np.int32)
        assert (sent(ends, [picture, picture[::2, ::3]])[1] == side).all()


def test_numpys_numbers_stay_numpys_and_not_a_number_is_one(ends: tuple[Channel, Channel]) -> None:
    number, action, nothing = sent(ends, [np.float32(0.1), BaseAction.LOOK_UP, float("nan")])
    assert (type(number), number) == (np.float32, np.float32(0.1))
    assert (action, nothing != nothing) == (4, True)


def test_dataclasses_arrive_as_namespaces_and_can_be_sent_back(ends: tuple[Channel, Channel]) -> None:
    pose = sent(ends, Pose(np.eye(3), np.array([1.0, 2.0, 3.0])))
    assert isinstance(pose, SimpleNamespace)
    assert pose.translation.tolist() == [1.0, 2.0, 3.0]
    assert sent(ends, pose).rotation.tolist() == np.eye(3).tolist()


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize("value", [object(), {1, 2}, Colour.RED, b"bytes", np.array([object()]), len])
def test_other_things_do_not_cross_and_the_error_says_where_they_are(
    ends: tuple[Channel, Channel], value: object
) -> None:
    with pytest.raises(MessageError, match=r"\['info'\]\[1\]"):
        ends[0].pack({"info": [0, value]})


@pytest.mark.parametrize(
    "message",
    [
        b"no json", b'{"unknown": 1}', b'{"array": ["|O", [1], 0]}', b'{"array": ["<f8", [100000000], 0]}',
        b'{"array": [",", [2], 0]}', b'{"array": ["<f8", [%d, 0], 0]}' % 2**70, b"[" * 900 + b"]" * 900,
        b'{"array": ["<f8", [2], -8]}', b'{"array": ["<f8"]}', b'{"tuple": [1], "dict": []}', b"\xff\xfe",
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(message: bytes) -> None:
    here, there = socket.socketpair()
    channel = Channel(there, Block.create())
    here.sendall(struct.pack("!I", len(message)) + message)
    with pytest.raises(MessageError):
        channel.receive(5.0)
    here.close()
    channel.close()


def test_a_wait_ends_at_its_deadline_and_with_the_other_side() -> None:
    here, there = socket.socketpair()
    channel = Channel(there, Block.create())
    with pytest.raises(TimeoutError):
        channel.receive(0.05)
    here.sendall(struct.pack("!I", 100) + json.dumps([1]).encode())  # less than it announces
    here.close()
    with pytest.raises(EOFError):
        channel.receive(5.0)
    channel.close()
