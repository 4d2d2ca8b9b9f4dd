"""The play page's commands: JSON in, and what to tell the person out."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from si_embodied.errors import ConfigError, SiEmbodiedError, extra
from si_embodied.live.app import PageApp
from si_embodied.plan import Plan, plan_from_json

with extra("serve"):
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from si_embodied.live.board import Board
    from si_embodied.play.session import Command, PlaySession

MOST_BYTES = 1 << 16
"""Of a command."""
_Text = Annotated[str, Field(max_length=4000)]
_Metres = Annotated[float, Field(ge=-20, le=20)]


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Instruct(_Command):
    """Begin an episode."""

    do: Literal["instruct"]
    instruction: _Text
    by_hand: bool = False


class Act(_Command):
    """Carry out one subgoal by hand; without one, say that the task is done."""

    do: Literal["act"]
    subgoal: dict[str, Any] | None


class Hand(_Command):
    """Who makes the plans."""

    do: Literal["hand"]
    by_hand: bool


class Stop(_Command):
    """End the episode."""

    do: Literal["stop"]


class Begin(_Command):
    """Draw another scene."""

    do: Literal["begin"]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    task: _Text | None = None


class Move(_Command):
    """Move a thing."""

    do: Literal["move"]
    name: _Text
    x_m: _Metres
    y_m: _Metres


class Save(_Command):
    """Save the episode as a demonstration."""

    do: Literal["save"]
    success: bool = False


class Ask(_Command):
    """Ask the model about what the robot sees."""

    do: Literal["ask"]
    question: _Text
    camera: _Text = ""
    region: bool = False


class Envelope(BaseModel):
    """Any command."""

    command: Annotated[Instruct | Act | Hand | Stop | Begin | Move | Save | Ask, Field(discriminator="do")]


class PlayApp(PageApp):
    """The watch page's routes, and `do`, which takes commands."""

    def __init__(self, session: PlaySession, board: Board) -> None:
        """Serve the page of a session."""
        super().__init__(board, "play")
        self._session = session
        self.app.add_api_route("/do", self._do, methods=["POST"], response_model=None)

    async def _do(self, request: Request) -> Response:
        try:
            command = await _read(request)
            if isinstance(command, Ask):
                answer = await asyncio.to_thread(
                    self._session.ask, command.question, camera=command.camera, region=command.region
                )
                return JSONResponse({"said": answer.text, "answer": answer.to_json()})
            if isinstance(command, Stop | Begin):
                self._session.cancel()
            said = await asyncio.wrap_future(self._session.submit(_carry_out(command)))
        except SiEmbodiedError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"said": said})


async def _read(request: Request) -> Instruct | Act | Hand | Stop | Begin | Move | Save | Ask:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise ConfigError(f"a command has at most {MOST_BYTES} bytes; shorten the text")
    try:
        return Envelope.model_validate({"command": json.loads(body)}).command
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        raise ConfigError(f"not a command: {where}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise ConfigError("not a command: expected JSON") from None


def _carry_out(command: Instruct | Act | Hand | Stop | Begin | Move | Save) -> Command:
    """What the session does for a command."""
    match command:
        case Instruct():
            return lambda player: player.instruct(command.instruction, by_hand=command.by_hand)
        case Act():
            plan = _plan(command.subgoal)
            return lambda player: player.act(plan)
        case Hand():
            return lambda player: player.hand(command.by_hand)
        case Stop():
            return lambda player: player.stop()
        case Begin():
            return lambda player: player.begin(command.seed, command.task)
        case Move():
            return lambda player: player.move(command.name, command.x_m, command.y_m)
        case Save():
            return lambda player: player.save(command.success)


def _plan(subgoal: dict[str, Any] | None) -> Plan:
    """A plan with one subgoal, or the end of the task."""
    text = json.dumps({"subgoals": [] if subgoal is None else [subgoal], "done": subgoal is None})
    try:
        return plan_from_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ConfigError(f"not a step that the robot can take: {first['loc'][-1]}: {first['msg']}") from None
