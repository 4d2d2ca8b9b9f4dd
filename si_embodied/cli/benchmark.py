"""`si-embodied benchmark`: public benchmarks of vision-language models, with the controls that they lack."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Annotated

from si_embodied.backends.config import BackendConfig
from si_embodied.benchmarking.settings import SpatialRun
from si_embodied.cli.options import EndWithJson, Model, Server
from si_embodied.cli.output import say
from si_embodied.cli.parsing import COUNT, flags, reader


def names(text: str) -> tuple[str, ...]:
    """Read names separated by commas."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise ValueError(f"expected names separated by commas, got {text!r}; for example vsi,mmsi")
    return found


def _listed(metavar: str) -> object:
    """How to read a tuple of names, and to show its default."""
    return replace(reader(names, metavar), str_from_instance=lambda values: [",".join(values)])


@dataclass(frozen=True, slots=True)
class Spatial:
    """Score a model on spatial benchmarks with lmms-eval, beside blank and absent images.

    The first run installs lmms-eval into an environment of its own. The same command continues after an interruption.
    """

    local: Annotated[BackendConfig, flags("device", "weights", "adapter", model="DIR|ID")] = BackendConfig()
    # Without --answer-format: benchmarks are answered in words.
    server: Annotated[Server, flags("server", options=flags("family", "image_format"))] = Server()
    benchmarks: Annotated[
        SpatialRun,
        flags(
            "data", "environment", "out",
            tasks=_listed("NAME[,NAME]"), sights=_listed("SIGHT[,SIGHT]"), limit=COUNT, batch=COUNT,
        ),
    ] = SpatialRun()  # fmt: skip
    json: EndWithJson = False

    def run(self) -> int:
        """Run the benchmarks, and print the table."""
        from si_embodied.benchmarking.spatial import run_spatial

        backend = self.server.backend(Model(self.local))
        report = run_spatial(replace(self.benchmarks, backend=backend), say=say)
        say("", *report.table(), "", f"results: {self.benchmarks.out / 'results'}.json, .md")
        if self.json:
            say(json.dumps(asdict(report)))
        return 0


SUBCOMMANDS = {"spatial": Spatial}
