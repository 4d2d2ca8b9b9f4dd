"""An answer's turns with the model, and its limit of time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

pytest.importorskip("fastapi")

from si_embodied.conversation import Conversation, Ending, Thought, Turn
from si_embodied.errors import ConfigError, SchemaError
from si_embodied.serving import chat_answer
from si_embodied.serving.chat_answer import LONGEST_S, TURN_S, Chat
from si_embodied.stops import Stops

ASKED = Conversation((Turn("user", ("x",)),))


class Slow:
    """Writes the numbers up to `count`, each in `token_s`, after reading for `read_s` whenever it gets the model."""

    prompt_tokens = 7

    def __init__(self, count: int = 100, token_s: float = 0.1, read_s: float = 0.0) -> None:
        self.count, self.token_s, self.read_s = count, token_s, read_s
        self.now_s, self.rests, self.completion_tokens, self.thought_tokens = 0.0, 0, 0, 0
        self.ended: Ending | None = None
        self.error: Exception | None = None

    def write(self, conversation: Conversation, *, interrupted: threading.Event) -> Any:
        self.interrupted = interrupted
        return self

    def rest(self) -> None:
        self.rests += 1

    def pieces(self) -> Generator[str | Thought, None, None]:
        if self.error:
            raise self.error
        self.now_s += self.read_s
        while not self.interrupted.is_set():
            self.now_s += self.token_s
            self.completion_tokens += 1
            self.ended = "stop" if self.completion_tokens == self.count else None
            yield f"{self.completion_tokens} "
            if self.ended:
                return


def chat(writer: Slow, stops: tuple[str, ...] = ()) -> tuple[Chat, list[Any]]:
    told: list[Any] = []
    return Chat(writer, ASKED, Stops(stops), told.append, clock=lambda: writer.now_s), told


def run(job: Chat, others: Callable[[], bool] = lambda: True) -> str:
    job.interrupted.clear()  # as the scheduler does
    return job.run(others)


def text(told: list[Any]) -> str:
    return "".join(part for part in told if isinstance(part, str))


def test_an_answer_gives_up_its_turn_and_goes_on_with_its_text() -> None:
    """After the first token, which comes with the reading, a turn has four."""
    writer = Slow(count=12, token_s=TURN_S / 4)
    job, told = chat(writer)
    stages = [run(job), run(job), run(job)]
    assert stages == ["turn over", "turn over", "done"]
    assert writer.rests == 2
    assert text(told) == "".join(f"{number} " for number in range(1, 13))
    assert (told[-1].ending, told[-1].completion_tokens) == ("stop", 12)


def test_alone_an_answer_keeps_the_model_until_another_one_waits() -> None:
    writer = Slow(count=100)
    job, _ = chat(writer)
    assert run(job, lambda: writer.completion_tokens >= 50) == "turn over"
    assert writer.completion_tokens == 50


def test_interruptions_by_robots_make_a_turn_no_longer() -> None:
    """A robot comes after every third token, the first of which comes with the reading."""
    writer = Slow(token_s=TURN_S / 4)
    job, _ = chat(writer)
    send = job._tell
    job._tell = lambda part: (send(part), writer.completion_tokens % 3 or job.interrupted.set())[0]
    assert [run(job) for _ in range(4)] == ["interrupted", "turn over", "interrupted", "turn over"]
    assert writer.rests == 2


def test_a_turn_writes_as_long_as_it_has_read_again() -> None:
    """The first reading does not count, for it is needed in any case."""
    writer = Slow(token_s=TURN_S / 4, read_s=10 * TURN_S)
    job, _ = chat(writer)
    written = []
    for _ in range(3):
        assert run(job) == "turn over"
        written.append(writer.completion_tokens)
    assert written == [5, 5 + 42, 5 + 2 * 42]  # the reading takes 10.25 turns with its token, and so does the writing


def test_the_time_limit_ends_an_answer_with_its_text() -> None:
    """What could have become a stop string belongs to it; waiting for other answers does not count."""
    writer = Slow(count=10_000, token_s=LONGEST_S / 100)
    job, told = chat(writer, stops=("100 never",))
    while run(job) == "turn over":
        writer.now_s += 1000
    assert text(told) == "".join(f"{number} " for number in range(1, 101))
    assert told[-1].ending == "length"


def test_an_answer_without_text_at_the_time_limit_is_refused() -> None:
    writer = Slow(read_s=LONGEST_S)
    job, told = chat(writer)
    writer.pieces = lambda: nothing(writer)  # type: ignore[method-assign]
    assert run(job) == "done"
    assert told[-1].reason == "late"
    assert "nothing after 300 s" in str(told[-1])


def nothing(writer: Slow) -> Generator[str | Thought, None, None]:
    """Reads until the time is over."""
    writer.now_s += writer.read_s
    yield from ()


def test_reading_is_interrupted_at_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any piece has come, so that only a timer can."""
    monkeypatch.setattr(chat_answer, "LONGEST_S", 0.05)

    class Reading(Slow):
        def pieces(self) -> Generator[str | Thought, None, None]:
            assert self.interrupted.wait(10)
            self.now_s += 0.05
            yield from ()

    job, told = chat(Reading())
    assert run(job) == "done"
    assert told[-1].reason == "late"


def test_an_answer_that_waits_too_long_ends_with_its_text_or_is_refused() -> None:
    job, told = chat(Slow())
    job.end_early("busy robots")
    assert (told[-1].reason, str(told[-1])) == ("late", "busy robots")
    job, told = chat(Slow(), stops=("5 6 7",))
    run(job)
    job.end_early("busy robots")
    assert text(told) == "1 2 3 4 5 6 "[: len(text(told))]
    assert told[-1].ending == "length"


@pytest.mark.parametrize(("error", "param"), [(SchemaError("no"), "response_format"), (ConfigError("no"), "messages")])
def test_what_the_model_cannot_follow_is_the_clients_error(error: Exception, param: str) -> None:
    writer = Slow()
    writer.error = error
    job, told = chat(writer)
    assert run(job) == "done"
    assert (told[-1].reason, told[-1].param) == ("malformed", param)
    assert not told[-1].__cause__


def test_a_canceled_answer_says_nothing_more() -> None:
    job, told = chat(Slow())
    run(job)
    said = len(told)
    job.cancel()
    assert run(job) == "done"
    assert len(told) == said
