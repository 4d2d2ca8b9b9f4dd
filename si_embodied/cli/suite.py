"""`si-embodied suite`: run many evaluations that a file describes, and compare two runs in pairs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from typing_extensions import Doc
from tyro.conf import Positional, arg

from si_embodied.backends.config import BackendConfig
from si_embodied.cli.options import EndWithJson, LocalModel, Model, Place, Server
from si_embodied.cli.output import print_table, say
from si_embodied.cli.parsing import COUNT
from si_embodied.parallel.placement import Placement
from si_embodied.suites.settings import Suite
from si_embodied.wording import seeds_in_words

_Folder = Annotated[Path, Positional]


@dataclass(frozen=True, slots=True)
class Run:
    """Run a suite. The same command continues after an interruption.

    Give a suite's name (`si-embodied suite list`), or a YAML file of your own. --model and --server replace the suite's
    models.
    """

    suite: Annotated[str, Positional, Doc("a suite's name, or its file"), arg(metavar="NAME|FILE")]
    local: LocalModel = BackendConfig()
    server: Server = Server()
    episodes: Annotated[int | None, Doc("of each row; default: the suite's"), COUNT] = None
    seed: Annotated[int | None, Doc("of the first episode; default: the suite's")] = None
    python: Annotated[Path | None, Doc("run the worlds in this Python: docs/habitat.md")] = None
    out: Annotated[Path | None, Doc("folder for the results; default: runs/suites/NAME")] = None
    videos: Annotated[int, Doc("how many videos to keep of each row, failures first")] = 0
    placement: Place = Placement()
    json: EndWithJson = False

    def run(self) -> int:
        """Run the rows, and print the table; the exit code is 130 if Ctrl-C cut it short."""
        from rich.console import Console

        from si_embodied.evaluation.page import PAGE, write_report
        from si_embodied.evaluation.report import score_table
        from si_embodied.suites.rows import models_of, rows_of
        from si_embodied.suites.run import ROWS, run_suite

        started_s = time.perf_counter()
        suite = self._suite()
        rows = rows_of(suite, models_of(suite, self.server.backend(Model(self.local))), python=self.python)
        out = self.out or Path("runs") / "suites" / suite.name
        report = run_suite(suite, rows, out, placement=self.placement, videos=self.videos)
        Console().print(score_table([score.report for score in report.scores]))
        say(*report.table()[-1:] if report.interrupted else (), f"{time.perf_counter() - started_s:.0f} s; {out}")
        say(f"page: {write_report([out / ROWS], out / 'report' / PAGE)}")
        if self.json:
            say(json.dumps(report.to_json(), allow_nan=False))
        return 130 if report.interrupted else 0

    def _suite(self) -> Suite:
        from si_embodied.suites.settings import load_suite

        suite = load_suite(self.suite)
        seed = suite.seed if self.seed is None else self.seed
        return replace(suite, episodes=self.episodes or suite.episodes, seed=seed)


@dataclass(frozen=True, slots=True)
class Compare:
    """Compare two runs of a suite, row by row, on the seeds that both played.

    Success by McNemar's exact test, with Tango's interval; SPL by a sign-flip test. Effect sizes are Cohen's g and d.
    """

    a: Annotated[_Folder, Doc("the folder of a run")]
    b: Annotated[_Folder, Doc("the folder of another")]
    out: Annotated[Path | None, Doc("also write the comparison into this folder")] = None
    json: EndWithJson = False

    def run(self) -> int:
        """Compare, and print the table."""
        from si_embodied.runs import write_json, write_text
        from si_embodied.suites.comparison import compare_suites, table

        comparison = compare_suites(self.a, self.b)
        lines = table(comparison)
        say(*lines)
        if self.out is not None:
            write_json(self.out / "comparison.json", comparison.to_json())
            write_text(self.out / "comparison.md", "\n".join(lines) + "\n")
        if self.json:
            say(json.dumps(comparison.to_json(), allow_nan=False))
        return 0


@dataclass(frozen=True, slots=True)
class List:
    """List the suites that come with the package."""

    def run(self) -> int:
        """Print the table."""
        from si_embodied.suites.rows import rows_of
        from si_embodied.suites.settings import load_suite, shipped_suites

        rows = []
        for name, file in shipped_suites().items():
            suite = load_suite(file)
            count = len(rows_of(suite, [BackendConfig()] * len(suite.models)))
            seeds = seeds_in_words(range(suite.seed, suite.seed + suite.episodes))
            rows.append((name, str(count), str(suite.episodes), seeds, suite.description))
        columns = {"suite": "left", "rows": "right", "episodes": "right", "seeds": "left", "what it measures": "wrap"}
        print_table(columns, rows, note="episodes: of each row; its controls play them too")
        return 0


SUBCOMMANDS = {"run": Run, "compare": Compare, "list": List}
