"""`si-embodied demo`: both worlds and every policy for a few episodes; one table, records and videos."""

from __future__ import annotations

import itertools
import shutil
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typing_extensions import Doc

from si_embodied.backends.config import BackendConfig
from si_embodied.cli.output import say
from si_embodied.cli.parsing import COUNT, flags
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.progress import track
from si_embodied.run_lock import locked
from si_embodied.wording import counted

if TYPE_CHECKING:
    from si_embodied.evaluation.report import Report

WORLDS = (("si_embodied/Apartment-v0", "objectnav"), ("si_embodied/Tabletop-v0", "base"))
POLICIES = ("random", "oracle", "perfect-pixels", "planner")


@dataclass(frozen=True, slots=True)
class Demo:
    """Run a few episodes of navigation and manipulation with every policy.

    Prints one table, and leaves records, a report and videos.
    """

    episodes: Annotated[EvaluationConfig, flags("seed", episodes=COUNT)] = EvaluationConfig("", "", episodes=3)
    model: Annotated[BackendConfig, flags(model="DIR|ID")] = BackendConfig()
    out: Annotated[Path, Doc("folder for the results")] = Path("runs/demo")

    def run(self) -> int:
        """Run everything; the exit code is 0 if all of it ran, however well it went."""
        from rich.console import Console

        from si_embodied.backends.opening import located
        from si_embodied.evaluation.page import PAGE, write_report
        from si_embodied.evaluation.registry import environments, find_policy
        from si_embodied.evaluation.report import score_table
        from si_embodied.runs import write_json

        environments()  # fails at once if an extra is missing
        started_s = time.perf_counter()
        backend = located(self.model)
        reports: list[Report] = []
        folders: list[Path] = []
        with locked(self.out), track("demo", len(WORLDS) * len(POLICIES), unit="rows") as work:
            for (env, task), policy in itertools.product(WORLDS, POLICIES):
                if not (reports and reports[-1].interrupted):
                    model = backend if find_policy(policy).needs_model else None
                    config = replace(self.episodes, env=env, policy=policy, task=task, backend=model)
                    folders.append(self.out / f"{config.world}-{task}-{policy}")
                    reports.append(self._evaluate(config, folders[-1]))
                    work.advance()
        write_json(self.out / "report.json", {"runs": [report.to_json() for report in reports]})
        Console().print(score_table(reports))
        videos = sorted(path.relative_to(self.out) for path in self.out.glob("*/videos/*.mp4"))
        say(
            f"{counted(self.episodes.episodes, 'episode')} per row: a demo, not a measurement.",
            f"{time.perf_counter() - started_s:.0f} s; report, records and {counted(len(videos), 'video')} are in "
            f"{self.out}:",
            *(f"  {path}" for path in videos),
            f"page: {write_report(folders, self.out / PAGE)}",
        )
        return 130 if reports[-1].interrupted else 0

    def _evaluate(self, config: EvaluationConfig, out: Path) -> Report:
        from si_embodied.evaluation.report import make_report
        from si_embodied.evaluation.session import RECORDS, TRACES, VIDEOS, Session
        from si_embodied.live.episodes import live_episodes

        # A demo starts over each time; an evaluation continues.
        (out / RECORDS).unlink(missing_ok=True)
        for pictures in (TRACES, VIDEOS):
            shutil.rmtree(out / pictures, ignore_errors=True)
        session = Session(out, videos=1, traces=True, audiences=(partial(live_episodes, out),))
        return make_report(session.run(config))
