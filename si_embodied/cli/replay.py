"""`si-embodied replay`: repeat a robot's recorded decisions, and compare."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typing_extensions import Doc
from tyro.conf import Positional, arg

from si_embodied.cli.options import EndWithJson, Model, Server
from si_embodied.cli.output import print_table, say
from si_embodied.config import Prompts
from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from si_embodied.live.moment import Moment
    from si_embodied.ros_nodes.recording.replay import Replayer


@dataclass(frozen=True, slots=True)
class Replay:
    """Plan again, offline, from what recorder_node recorded of a robot, and compare.

    With the recorded answers, the comparison shows whether this version still makes the same decisions: the exit code
    is 0 if it does in every case, otherwise 1. With another model it is 0. If no decision could be replayed, it is 1.
    """

    recording: Annotated[Path, Doc("the recorded folder, or its .mcap file"), Positional]
    model: Model
    server: Server
    backend: Annotated[
        Literal["recorded", "local", "server"] | None,
        Doc("what answers; default: recorded, or local with --model, or server with --server"),
        arg(metavar="{recorded,local,server}"),
    ] = None
    rerun: Annotated[Path | None, Doc("also write the decisions for the Rerun viewer"), arg(metavar="FILE.rrd")] = None
    json: EndWithJson = False

    def run(self) -> int:
        """Replay, print the comparison, and say whether the decisions are the same."""
        from si_embodied.ros_nodes.recording.reader import Recording
        from si_embodied.ros_nodes.recording.replay import headline, rows, summary

        backend = self.backend or (
            "server" if self.server.server else "local" if self.model.local.model else "recorded"
        )
        recording = Recording(self.recording)
        with self._rerun_file() as show:
            replayed = list(self._replayer(backend, show).replay(recording))
        columns = ("#", "at, s", "recorded", "replayed", "", "apart, m", "model, s", "now, s")
        print_table(dict.fromkeys(columns, "wrap"), rows(recording, replayed))
        figures = summary(backend, replayed)
        say(headline(figures))
        if self.json:
            say(json.dumps(figures, allow_nan=False))
        if figures["not replayed"] == figures["decisions"]:
            say("Nothing could be replayed; the table says why.")
            return 1
        return 1 if backend == "recorded" and (figures["different"] or figures["same skills"]) else 0

    @contextlib.contextmanager
    def _rerun_file(self) -> Iterator[Callable[[Moment], None] | None]:
        """What takes the decisions for the Rerun viewer, if they are wanted."""
        if self.rerun is None:
            yield None
            return
        from si_embodied.live.rerun_file import RerunFile

        file = RerunFile(self.rerun, str(self.recording))
        try:
            yield file.add
        finally:
            file.close()

    def _replayer(self, backend: str, show: Callable[[Moment], None] | None) -> Replayer:
        from si_embodied.backends.opening import open_backend
        from si_embodied.ros_nodes.recording.replay import Replayer

        if (backend != "server" and self.server.server) or (backend == "recorded" and self.model.local.model):
            raise ConfigError(f"--backend {backend} does not go with --model or --server; leave one of them out")
        if backend == "server" and not self.server.server:
            raise ConfigError("--backend server needs --server URL")
        given = None if self.model.config is None else self.model.planner_config()
        if backend == "recorded":
            return Replayer(adapt=lambda config: given or config, show=show)
        # The recorded settings, except that each model is asked with the prompts that it was trained with.
        model = open_backend(self.server.backend(self.model))
        return Replayer(model, lambda config: given or replace(config, prompts=Prompts()), show)
