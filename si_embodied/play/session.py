"""The thread in which a world is played, and what other threads ask of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeAlias

from si_embodied.errors import ConfigError, SiEmbodiedError
from si_embodied.grounding import Grounder
from si_embodied.live.drawing import frame_of
from si_embodied.play.player import Player
from si_embodied.play.settings import Answer
from si_embodied.types import Refusal

if TYPE_CHECKING:
    from si_embodied.live.board import Board
    from si_embodied.play.settings import PlaySettings
    from si_embodied.types import CameraFrame

_LOG = logging.getLogger(__name__)

Command: TypeAlias = Callable[[Player], str]
"""Does something with the player, and returns what to tell the person."""

MOST_WAITING = 16
_IDLE_S = 0.2


class PlaySession:
    """Plays in a thread of its own, and shows what happens on a board."""

    def __init__(self, settings: PlaySettings, board: Board) -> None:
        """Prepare to play; `start` opens the world."""
        self._settings, self._board = settings, board
        self._commands: queue.Queue[tuple[Command, Future[str]]] = queue.Queue(MOST_WAITING)
        self._opened: Future[Player] = Future()
        self._closing = threading.Event()
        self._stale = True  # whether the moment has not been shown
        self._thread = threading.Thread(target=self._run, name="play", daemon=True)

    def start(self) -> None:
        """Open the model and the world, and play.

        Raises:
            SiEmbodiedError: they cannot be opened.
        """
        self._thread.start()
        self._opened.result()

    def close(self) -> None:
        """Stop playing and close the world."""
        self._closing.set()
        with contextlib.suppress(SiEmbodiedError):
            self.cancel()
        if self._thread.is_alive():
            self._thread.join(timeout=30.0)

    def submit(self, command: Command) -> Future[str]:
        """Do something before the robot's next step.

        Raises:
            ConfigError: too many commands are waiting already.
        """
        done: Future[str] = Future()
        try:
            self._commands.put_nowait((command, done))
        except queue.Full:
            raise ConfigError(f"{MOST_WAITING} commands are waiting already; wait for the world to take them") from None
        return done

    def cancel(self) -> None:
        """Abort the plan that the model is making, so that the next command does not wait for it."""
        if self._opened.done():
            self._opened.result().wheel.cancel()

    def ask(self, question: str, *, camera: str = "", region: bool = False) -> Answer:
        """Ask the model about what the robot sees now; any thread may, and waits for a plan in progress.

        Args:
            question: in words; with `region`, the object to find.
            camera: one of the robot's; by default all of them, for a region the first.
            region: ask where the object is.

        Raises:
            ConfigError: the question is empty, there is no such camera, or this planner answers no questions.
            SiEmbodiedError: the model failed, or its answer has no region.
        """
        player = self._opened.result()
        if player.model.asker is None:
            raise ConfigError(player.model.note)
        if not question.strip():
            raise ConfigError("the question is empty; type what you want to know")
        frames = [each for each in player.observation.frames if camera in ("", each.name)]
        if not frames:
            known = ", ".join(each.name for each in player.observation.frames)
            raise ConfigError(f"no camera {camera!r}; the robot has: {known}")
        deadline_s = player.planner_config.deadline_s
        with player.wheel.lock():
            if not region:
                images = [each.rgb for each in frames]
                words = player.model.asker.ask(images, question, deadline_s=deadline_s)
                return Answer(words, ", ".join(each.name for each in frames))
            text, found = player.model.asker.locate(frames[0].rgb, question, deadline_s=deadline_s)
        x, y = found.point
        box = None if found.box is None else _shares(found.box)
        return Answer(text, frames[0].name, (x / 1000, y / 1000), box, self._position(player, frames[0], found.point))

    def _position(self, player: Player, frame: CameraFrame, point: tuple[int, int]) -> str:
        grounder = Grounder(player.embodiment, player.planner_config.grounding)
        found = grounder.point_in_map(frame, point)
        if isinstance(found, Refusal):
            return found.message
        return "at ({:.2f}, {:.2f}, {:.2f}) m in the map".format(*found)

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            player = Player(self._settings)
        except BaseException as error:  # noqa: BLE001 - `start` raises it
            self._opened.set_exception(error)
            return
        self._opened.set_result(player)
        try:
            self._changed(player)
            while not self._closing.is_set():
                self._turn(player)
        finally:
            player.close()

    def _turn(self, player: Player) -> None:
        """Do one command, or one step of the robot."""
        acting = player.status == "acting"
        try:
            command, done = self._commands.get(block=not acting, timeout=_IDLE_S)
        except queue.Empty:
            if acting:
                self._step(player)
            self._show(player)  # to a page that was opened meanwhile
            return
        if not done.set_running_or_notify_cancel():
            return
        try:
            told = command(player)
        except SiEmbodiedError as error:
            done.set_exception(error)
        except Exception as error:  # noqa: BLE001 - the person is told, and can go on
            _LOG.exception("a command failed")
            done.set_exception(ConfigError(f"that failed unexpectedly: {type(error).__name__}: {error}"))
        else:
            self._changed(player)
            done.set_result(told)

    def _step(self, player: Player) -> None:
        started_s = time.monotonic()
        try:
            player.step()
        except Exception as error:  # noqa: BLE001 - the person is told, and can go on
            _LOG.exception("the episode failed")
            player.fail(f"the episode failed: {type(error).__name__}: {error}")
        self._changed(player)
        if player.status == "acting":
            self._closing.wait(max(0.0, self._settings.pace_s - (time.monotonic() - started_s)))

    def _changed(self, player: Player) -> None:
        """Show what is new. The state is small, and kept for a page that opens later."""
        self._stale = True
        self._show(player)
        self._board.put("state", json.dumps(dataclasses.asdict(player.state())))

    def _show(self, player: Player) -> None:
        """Show the moment, if it is not shown yet and a page is open."""
        if self._stale and self._board.wanted():
            self._stale = False
            self._board.show(frame_of(player.moment()))


def _shares(box: tuple[int, int, int, int]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (value / 1000 for value in box)
    return left, top, right, bottom
