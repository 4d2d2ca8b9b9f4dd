"""An answer to a chat client, which takes turns with other answers and has the model for a limited time."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, TypeAlias

from si_embodied.conversation import Thought
from si_embodied.errors import ConfigError, ObservationError, RequestRefused, SchemaError
from si_embodied.serving.chat_format import Malformed
from si_embodied.serving.chat_replies import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from si_embodied.conversation import Conversation, Ending, Writer
    from si_embodied.serving.scheduler import Stage
    from si_embodied.stops import Stops

LONGEST_S = 300.0
"""How long one answer has the model, in all its turns. Its waits for robots and for other answers do not count."""
TURN_S = 0.5
"""The shortest turn while other answers wait."""

Part: TypeAlias = "str | Thought | Usage | RequestRefused"
"""What a client hears of its answer: thoughts, text, and at last how it ended."""


class Chat:
    """One answer, written for a client (a `Job` of the scheduler)."""

    def __init__(
        self,
        writer: Writer,
        conversation: Conversation,
        stops: Stops,
        tell: Callable[[Part], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin an answer; `tell` is called from the scheduler's thread, `clock` is monotonic time in seconds."""
        self.interrupted, self._canceled = threading.Event(), threading.Event()
        self._writing = writer.write(conversation, interrupted=self.interrupted)
        self._stops, self._tell, self._time = stops, tell, _ModelTime(clock)

    def run(self, others: Callable[[], bool]) -> Stage:
        """Write on; see `Job`."""
        limit = threading.Timer(LONGEST_S - self._time.total_s, self.interrupted.set)
        limit.daemon = True
        limit.start()
        try:
            self._write(others)
        except (ConfigError, ObservationError) as error:
            self._tell(Malformed(str(error), "response_format" if isinstance(error, SchemaError) else "messages"))
            return "done"
        finally:
            limit.cancel()
        ending = "stop" if self._stops.found else self._writing.ended
        if self._canceled.is_set():
            return "done"
        if ending is not None:
            self._end(ending)
        elif self._time.total_s >= LONGEST_S:
            self.end_early(f"the model had written nothing after {LONGEST_S:g} s; send less text or smaller images")
        elif self._time.turn_over:
            self._time.next_turn()
            self._writing.rest()
            return "turn over"
        else:
            return "interrupted"
        return "done"

    def cancel(self) -> None:
        """Stop for good."""
        self._canceled.set()
        self.interrupted.set()

    def refuse(self, refused: RequestRefused) -> None:
        """Tell the client."""
        self._tell(refused)

    def end_early(self, why: str) -> None:
        """End with what is written, as if more tokens were not allowed; with nothing written, refuse and say why."""
        if self._writing.completion_tokens:
            self._end("length")
        else:
            self._tell(RequestRefused("late", why))

    def _write(self, others: Callable[[], bool]) -> None:
        """Write until the answer ends, is interrupted, or has to give the model to others."""
        if self._canceled.is_set():
            return
        self._time.start()
        with closing(self._writing.pieces()) as pieces:
            for piece in pieces:
                self._time.passes(wrote=True)
                if self._canceled.is_set():
                    return
                self._send(piece if isinstance(piece, Thought) else self._stops.feed(piece))
                if self._stops.found:
                    return
                if self._time.total_s >= LONGEST_S or (self._time.turn_over and others()):
                    self.interrupted.set()  # and the pieces end by themselves
        self._time.passes(wrote=False)

    def _end(self, ending: Ending) -> None:
        if not self._stops.found:
            self._send(self._stops.feed("", last=True))
        writing = self._writing
        self._tell(Usage(ending, writing.prompt_tokens, writing.completion_tokens, writing.thought_tokens))

    def _send(self, part: str | Thought) -> None:
        if part:
            self._tell(part)


class _ModelTime:
    """How long an answer has had the model, in all and in its present turn.

    A model that has dropped an answer's key/value cache in favour of others reads prompt and answer again. A turn then
    writes at least as long as it has read, so that at most half of the time is lost.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._since_s = clock, 0.0
        self._reading = True  # no piece has come since `start`
        self._turns, self._read_s, self._wrote_s = 0, 0.0, 0.0
        self.total_s = 0.0

    def start(self) -> None:
        """The answer gets the model."""
        self._since_s, self._reading = self._clock(), True

    def passes(self, *, wrote: bool) -> None:
        """Count the time since the last call: until a piece was written, or until the model was taken away."""
        now = self._clock()
        took_s, self._since_s = now - self._since_s, now
        self.total_s += took_s
        if not self._reading:
            self._wrote_s += took_s
        elif self._turns:  # the first reading is needed in any case
            self._read_s += took_s
        self._reading = self._reading and not wrote

    @property
    def turn_over(self) -> bool:
        """Whether it is time to give the model to others."""
        return self._wrote_s >= max(TURN_S, self._read_s)

    def next_turn(self) -> None:
        """Begin another turn."""
        self._turns, self._read_s, self._wrote_s = self._turns + 1, 0.0, 0.0
