"""Messages between robot and planning server: a request, and a decision or a refusal.

A message is one msgpack map `{"version": 4, "number": N, KIND: {...}}`. Either side rejects a message of another
version. A decision has the number of its request, so that the robot does not take a late one for the answer to another
request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from si_embodied.errors import MessageError, ObservationError, RequestRefused, extra, shown
from si_embodied.serving.codec import Codec, Maybe, Number, OneOf, Record, Text, Whole
from si_embodied.serving.options import MOST_BYTES
from si_embodied.serving.values import (
    CONFIG,
    DECISION,
    EMBODIMENT,
    TASK,
    memory_codec,
    observation_codec,
)

with extra("remote"):
    import msgpack

if TYPE_CHECKING:
    from si_embodied.config import PlannerConfig
    from si_embodied.embodiment import Embodiment
    from si_embodied.memory import Memory
    from si_embodied.types import Decision, Observation, Task

VERSION = 4

CONTENT_TYPE = "application/msgpack"
PLAN_PATH = "/v1/plan"

_NUMBER = Maybe(Whole(0, 2**63 - 1))
_LONGEST_LIST, _MOST_CONTAINERS = 1000, 20_000

REASONS = {
    "malformed": 400,
    "unauthorized": 401,
    "unknown_model": 404,
    "superseded": 409,
    "too_large": 413,
    "rate_limited": 429,
    "canceled": 499,
    "failed": 500,
    "busy": 503,
    "stopping": 503,
    "late": 504,
}
"""Why a request was refused: stable names, and their HTTP status."""


@dataclass(frozen=True, slots=True, eq=False)
class PlanRequest:
    """Everything that a decision depends on; the server keeps no state per robot."""

    robot: str  # unique name; a newer request replaces a queued one of the same name
    embodiment: Embodiment
    config: PlannerConfig  # the robot's bounds; the server overrides prompts and reasoning
    task: Task
    observation: Observation
    memory: Memory
    now_s: float  # on the clock of the observation's stamps
    deadline_s: float  # seconds left when the request is sent

    def __post_init__(self) -> None:
        """Reject a task for another kind of robot."""
        if self.task.kind != self.embodiment.kind:
            raise ObservationError(f"a robot for {self.embodiment.kind} was given a task of kind {self.task.kind!r}")


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: str
    message: str
    retry_after_s: float | None


def _request(*, compressed: bool) -> Codec[PlanRequest]:
    return Record(
        PlanRequest,
        robot=Text(100),
        embodiment=EMBODIMENT,
        config=CONFIG,
        task=TASK,
        observation=observation_codec(compressed=compressed),
        memory=memory_codec(compressed=compressed),
        now_s=Number(-1e12, 1e12),
        deadline_s=Number(0.0, 3600.0),
    )


_REQUESTS = {compressed: _request(compressed=compressed) for compressed in (False, True)}
_REFUSAL = Record(_Refusal, reason=OneOf(tuple(REASONS)), message=Text(20_000), retry_after_s=Maybe(Number(0.0)))


def pack_request(request: PlanRequest, *, number: int | None = None, compressed: bool = False) -> bytes:
    """Encode a request.

    Args:
        request: what to plan.
        number: tells the requests of one robot apart.
        compressed: send lossy images and depth (see `Picture`).
    """
    return _pack("plan", _REQUESTS[compressed].encode(request), number)


def unpack_request(message: bytes) -> PlanRequest:
    """Decode a request, without its number.

    Raises:
        MessageError: the message is not a request of this version.
    """
    return unpack_numbered_request(message)[0]


def unpack_numbered_request(message: bytes) -> tuple[PlanRequest, int | None]:
    """Decode a request and its number, None if it has none; raises like `unpack_request`."""
    _, plain, number = _unpack(message, ("plan",))
    return _REQUESTS[False].decode(plain, "plan"), number


def pack_decision(decision: Decision, *, number: int | None = None) -> bytes:
    """Encode a decision, with the number of its request."""
    return _pack("decision", DECISION.encode(decision), number)


def pack_refusal(refused: RequestRefused) -> bytes:
    """Encode a refusal."""
    return _pack("refused", _REFUSAL.encode(_Refusal(refused.reason, str(refused)[:10_000], refused.retry_after_s)))


def unpack_reply(message: bytes, *, number: int | None = None) -> Decision:
    """Decode the server's reply to the request with this number.

    Raises:
        RequestRefused: the server refused the request.
        MessageError: the message is not a reply of this version, or the decision answers another request.
    """
    kind, plain, answered = _unpack(message, ("decision", "refused"))
    if kind == "decision":
        if answered != number:
            raise MessageError(f"expected the answer to request {number}, got that to request {answered}; ask again")
        return DECISION.decode(plain, "decision")
    refusal = _REFUSAL.decode(plain, "refused")
    raise RequestRefused(refusal.reason, refusal.message, retry_after_s=refusal.retry_after_s)


class _ContainerLimit:
    """Stops decoding after too many lists and maps: millions of empty ones take a hundred times the message's size."""

    def __init__(self) -> None:
        self._count = 0

    def check(self, container: Any) -> Any:
        """Count one decoded list or map, and return it unchanged."""
        self._count += 1
        if self._count > _MOST_CONTAINERS:
            raise ValueError(f"more than {_MOST_CONTAINERS} lists and maps")
        return container


def _pack(kind: str, plain: Any, number: int | None = None) -> bytes:
    # A model's text may contain an unpaired surrogate; surrogatepass carries it unchanged.
    numbered = {} if number is None else {"number": number}
    packed: bytes = msgpack.packb({"version": VERSION, **numbered, kind: plain}, unicode_errors="surrogatepass")
    return packed


def _unpack(message: bytes, kinds: tuple[str, ...]) -> tuple[str, Any, int | None]:
    """The kind, the content and the number of a message."""
    if len(message) > MOST_BYTES:
        raise MessageError(f"expected a message of at most {MOST_BYTES} bytes, got: {len(message)}")
    limit = _ContainerLimit()
    try:
        plain = msgpack.unpackb(
            message,
            unicode_errors="surrogatepass",
            max_array_len=_LONGEST_LIST,
            max_map_len=_LONGEST_LIST,
            max_ext_len=0,  # no extension types
            list_hook=limit.check,
            object_hook=limit.check,
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError, MemoryError) as error:
        raise MessageError(f"not a msgpack message ({type(error).__name__}: {error}): {message[:20]!r}") from error
    if not isinstance(plain, dict) or "version" not in plain:
        raise MessageError(f"expected a map with a version, got {type(plain).__name__}: {message[:20]!r}")
    version = plain.pop("version")
    if version != VERSION or isinstance(version, bool):
        raise MessageError(
            f"expected message version {VERSION}, got {shown(version)}; install the same release on both sides"
        )
    number = _NUMBER.decode(plain.pop("number", None), "number")
    if len(plain) != 1 or (kind := next(iter(plain))) not in kinds:
        raise MessageError(f"expected one of {', '.join(kinds)}, got: {', '.join(map(str, plain))[:80] or 'nothing'}")
    return kind, plain[kind], number
