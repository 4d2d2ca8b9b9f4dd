"""`si-embodied play`: give a robot instructions on a page, and steer it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import Doc
from tyro.conf import UseAppendAction

from si_embodied.cli.options import Model, Server, named_value
from si_embodied.cli.output import say
from si_embodied.cli.parsing import IMAGE_SIZE, flags, reader
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.live.address import PAGE_HOST, PAGE_PORT


@dataclass(frozen=True, slots=True)
class Play:
    """Open a page on which a person types instructions into a world and sees the planner act.

    By hand, the person makes the plans in the model's place: drive, point, pick. Questions go to the model. Furniture
    and objects can be moved, and an episode can be saved as a demonstration. Ctrl-C ends it.
    """

    evaluation: Annotated[EvaluationConfig, flags("env", "task", "seed", "policy", image_size=IMAGE_SIZE)] = (
        EvaluationConfig(env="si_embodied/Apartment-v0", policy="planner")
    )
    model: Model = Model()
    server: Server = Server()
    env_arg: Annotated[
        tuple[Annotated[tuple[str, Any], reader(named_value, "NAME=VALUE")], ...],
        Doc("another argument of the world, as `si-embodied envs` lists them: JSON or text"),
        UseAppendAction,
    ] = ()
    out: Annotated[Path, Doc("folder for the demonstrations")] = Path("runs/play")
    pace: Annotated[float, Doc("least seconds for a step of the robot")] = 0.15
    host: Annotated[str, PAGE_HOST] = "127.0.0.1"
    port: Annotated[int, PAGE_PORT] = 8431

    def run(self) -> int:
        """Play until Ctrl-C."""
        from si_embodied.backends.opening import located
        from si_embodied.evaluation.registry import find_policy
        from si_embodied.live.address import PageAddress
        from si_embodied.live.board import Board
        from si_embodied.live.server import PageServer
        from si_embodied.play.app import PlayApp
        from si_embodied.play.session import PlaySession
        from si_embodied.play.settings import PlaySettings

        needs_model = find_policy(self.evaluation.policy).needs_model
        model = located(self.server.backend(self.model)) if needs_model else None
        config = replace(
            self.evaluation, backend=model, planner=self.model.planner_config(), env_args=self.env_arg, episodes=1
        )
        board = Board()
        session = PlaySession(PlaySettings(config, self.out, self.pace), board)
        page = PageServer(PlayApp(session, board), PageAddress(self.host, self.port))
        try:
            session.start()
            page.start()
            say("play on this page (Ctrl-C ends it)", page.url)
            while True:
                time.sleep(1.0)
        except KeyboardInterrupt:
            say("stopped")
        finally:
            page.close()
            session.close()
        return 0
