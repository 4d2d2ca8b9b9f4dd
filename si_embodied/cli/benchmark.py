"""`si-embodied benchmark`: public benchmarks with the controls that they lack, and what a plan costs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated

from typing_extensions import Doc
from tyro.conf import UseAppendAction, arg

from si_embodied.backends.config import BackendConfig
from si_embodied.benchmarking.embodied.settings import Control, EmbodiedRun
from si_embodied.benchmarking.latency.settings import LEAST_PIXELS, SpeedRun
from si_embodied.benchmarking.settings import SpatialRun
from si_embodied.cli.options import EndWithJson, Model, Place, Server
from si_embodied.cli.output import say
from si_embodied.cli.parsing import COUNT, IMAGE_SIZE, flags, reader, whole_number
from si_embodied.errors import ConfigError
from si_embodied.parallel.placement import Placement
from si_embodied.progress import track
from si_embodied.run_lock import locked

_PIXELS = reader(partial(whole_number, minimum=LEAST_PIXELS, example=448), "N")


def names(text: str) -> tuple[str, ...]:
    """Read names separated by commas."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise ValueError(f"expected names separated by commas, got {text!r}; for example vsi,mmsi")
    return found


def listed(metavar: str) -> object:
    """How to read a tuple of names, and to show its default."""
    return replace(reader(names, metavar), str_from_instance=lambda values: [",".join(values)])


@dataclass(frozen=True, slots=True)
class Spatial:
    """Score a model on spatial benchmarks with lmms-eval, beside blank and absent images.

    The first run installs lmms-eval into an environment of its own. The same command continues after an interruption.
    """

    local: Annotated[BackendConfig, flags("device", "weights", "adapter", "thinking_tokens", model="DIR|ID")] = (
        BackendConfig()
    )
    # Without --answer-format: benchmarks are answered in words.
    server: Annotated[Server, flags("server", options=flags("family", "image_format"))] = Server()
    benchmarks: Annotated[
        SpatialRun,
        flags(
            "data", "environment", "out", "circular",
            tasks=listed("NAME[,NAME]"), sights=listed("SIGHT[,SIGHT]"), limit=COUNT, batch=COUNT,
        ),
    ] = SpatialRun()  # fmt: skip
    json: EndWithJson = False

    def run(self) -> int:
        """Run the benchmarks, and print the table."""
        from si_embodied.benchmarking.spatial import run_spatial

        backend = self.server.backend(Model(self.local))
        with locked(self.benchmarks.out), track("benchmark spatial"):
            report = run_spatial(replace(self.benchmarks, backend=backend), say=say)
        say("", *report.table(), "", f"results: {self.benchmarks.out / 'results'}.json, .md")
        if self.json:
            say(json.dumps(asdict(report)))
        return 0


@dataclass(frozen=True, slots=True)
class Embodied:
    """Play our worlds by EmbodiedBench's rules: its answers, actions, limits and metrics.

    An invalid answer is counted, and nothing moves. The same command continues after an interruption.
    """

    local: Annotated[BackendConfig, flags("device", "weights", "adapter", model="DIR|ID")] = BackendConfig()
    server: Server = Server()
    benchmark: Annotated[
        EmbodiedRun,
        flags(
            "env", "oracle", "prompt_file", "shots", "answers", "seed", "out",
            subset=listed("NAME[,NAME]"), text_limit=COUNT, episodes=COUNT, image_size=IMAGE_SIZE,
        ),
    ] = EmbodiedRun()  # fmt: skip
    control: Annotated[
        tuple[Control, ...],
        Doc("also run this on the same seeds: black pictures, or answers in the same format from ground truth"),
        UseAppendAction,
    ] = ()
    placement: Place = Placement()
    json: EndWithJson = False

    def run(self) -> int:
        """Run the episodes, and print the table; the exit code is 130 if Ctrl-C cut it short."""
        from si_embodied.benchmarking.embodied.run import run_embodied

        backend = self.server.backend(Model(self.local))
        run = replace(self.benchmark, backend=backend)
        with locked(run.folder):
            report = run_embodied(run, self.control, placement=self.placement)
        say("", *report.table(), "", f"records and results are in {run.folder}")
        if self.json:
            say(json.dumps(asdict(report)))
        return 130 if report.interrupted else 0


@dataclass(frozen=True, slots=True)
class Latency:
    """Measure what a plan costs here: cold start, first plan, re-plan, unchanged scene and four views.

    The pictures are synthetic, so that no simulator is needed. The table and the JSON have percentiles, tokens per
    second, memory, energy where the board measures it, and the machine.
    """

    model: Model
    server: Server
    speed: Annotated[
        SpeedRun, flags("out", image_size=_PIXELS, plans=COUNT)
    ] = SpeedRun()  # fmt: skip
    planner: Annotated[str, Doc("measure this planning server (`si-embodied serve`)"), arg(metavar="URL")] = ""
    json: EndWithJson = False

    def run(self) -> int:
        """Measure, and print the table."""
        from si_embodied.benchmarking.latency.run import run_speed

        backend = self.server.backend(self.model)
        if self.planner:
            if self.server.server or self.model.local.model:
                raise ConfigError("--planner is a server with a model of its own; give neither --model nor --server")
            backend = BackendConfig("remote", url=self.planner)
        run = replace(self.speed, backend=backend, planner=self.model.planner_config())
        with locked(run.out), track("benchmark latency"):
            report = run_speed(run, say=say)
        say("", *report.table(), "", f"results: {run.out / 'results'}.json, .md")
        if self.json:
            say(json.dumps(report.to_json(), allow_nan=False))
        return 0


SUBCOMMANDS = {"spatial": Spatial, "embodied": Embodied, "latency": Latency}
