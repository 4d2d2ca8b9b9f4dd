"""`si-embodied eval`: run a policy over seeds, and report how well it did and how certain that is."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typing_extensions import Doc
from tyro.conf import UseAppendAction, arg

from si_embodied.backends.config import BackendConfig
from si_embodied.cli.options import EndWithJson, Model, Place, Server, latency, named_value, noise
from si_embodied.cli.output import say
from si_embodied.cli.parsing import COUNT, IMAGE_SIZE, flags, reader
from si_embodied.cli.watch import live_page
from si_embodied.errors import ConfigError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.parallel.placement import Placement
from si_embodied.wording import counted

if TYPE_CHECKING:
    from si_embodied.evaluation.episode import Audience


@dataclass(frozen=True, slots=True)
class Eval:
    """Run a policy over a range of seeds. The same command continues after an interruption."""

    evaluation: Annotated[
        EvaluationConfig,
        flags(
            "env", "task", "seed", "action_mode", "policy", "python", episodes=COUNT, image_size=IMAGE_SIZE,
            latency=reader(latency, "0|measured|SECONDS"), noise=reader(noise, "PROFILE|FILE.yaml"),
        ),
    ]  # fmt: skip
    model: Model
    server: Server
    planner: Annotated[str, Doc("plan on this planning server (`si-embodied serve`)"), arg(metavar="URL")] = ""
    control: Annotated[
        tuple[Literal["blank", "random", "oracle"], ...],
        Doc("also run this on the same seeds, and compare in pairs; blank gives the model black images"),
        UseAppendAction,
    ] = ()
    env_arg: Annotated[
        tuple[Annotated[tuple[str, Any], reader(named_value, "NAME=VALUE")], ...],
        Doc("another argument of the world, as `si-embodied envs` lists them: JSON or text"),
        UseAppendAction,
    ] = ()
    out: Annotated[Path | None, Doc("folder for the results; default: one in runs/eval/, named by the settings")] = None
    videos: Annotated[int, Doc("how many videos to keep, failures first")] = 0
    keep_steps: Annotated[bool, Doc("keep every image, state and action (steps/), for `si-embodied data export`")] = (
        False
    )
    placement: Place = Placement()
    watch: Annotated[bool, Doc("show the run on a local page; `si-embodied watch` shows one that runs already")] = False
    rerun: Annotated[
        Path | None,
        Doc("also write each episode for the Rerun viewer: a folder, or FILE.rrd for a single episode"),
        arg(metavar="DIR|FILE.rrd"),
    ] = None
    json: EndWithJson = False

    def run(self) -> int:
        """Evaluate and report; the exit code is 130 if Ctrl-C cut it short."""
        from rich.console import Console

        from si_embodied.evaluation.page import write_report
        from si_embodied.evaluation.registry import environments, find_policy, make_env
        from si_embodied.evaluation.report import detail_lines, score_table
        from si_embodied.evaluation.session import Session, default_folder

        environments()  # fails at once if an extra is missing
        config = self._config(needs_model=find_policy(self.evaluation.policy).needs_model)
        make_env(config).close()  # fails before a folder is made if a name is unknown
        out = self.out or default_folder(config)
        session = Session(
            out, self.videos, traces=True, steps=self.keep_steps, placement=self.placement,
            audiences=self._audiences(out),
        )  # fmt: skip
        with live_page(out) if self.watch else contextlib.nullcontext():
            report, comparisons = session.run_with_controls(config, self.control)
        Console().print(score_table([report, *(comparison.report for comparison in comparisons)]))
        say(*detail_lines(report, comparisons), f"{_kept(out)} are in {out}")
        say(f"page: {write_report([out])}")
        if self.json:
            say(json.dumps(report.to_json(comparisons), allow_nan=False))
        return 130 if report.interrupted or any(each.report.interrupted for each in comparisons) else 0

    def _audiences(self, out: Path) -> tuple[Audience, ...]:
        """A run can always be watched through its folder, also by a command that is given later."""
        from si_embodied.live.episodes import live_episodes

        shown: Audience = partial(live_episodes, out)
        if self.rerun is None:
            return (shown,)
        if self.rerun.suffix == ".rrd" and (self.evaluation.episodes > 1 or self.control):
            asked = f"{counted(self.evaluation.episodes, 'episode')} and {counted(len(self.control), 'control')}"
            raise ConfigError(
                f"a file holds one episode, got --rerun {self.rerun} for {asked}; give a folder, or --episodes 1 "
                "without --control"
            )
        from si_embodied.live.rerun_episodes import rerun_episodes

        return shown, partial(rerun_episodes, self.rerun.absolute())

    def _config(self, *, needs_model: bool) -> EvaluationConfig:
        from si_embodied.backends.opening import located

        backend = self.server.backend(self.model)
        if self.planner:
            if self.server.server or self.model.local.model:
                raise ConfigError("--planner is a server with a model of its own; give neither --model nor --server")
            if "blank" in self.control:
                raise ConfigError("--control blank changes what the model sees, which --planner leaves to the server")
            backend = BackendConfig("remote", url=self.planner)
        model, planner = located(backend) if needs_model else None, self.model.planner_config()
        return replace(self.evaluation, backend=model, planner=planner, env_args=self.env_arg)


def _kept(out: Path) -> str:
    """What a run has left in its folder, in words."""
    from si_embodied.evaluation.session import VIDEOS

    videos = len(list(out.glob(f"{VIDEOS}*/*.mp4")))
    return "records and report" if not videos else f"records, report and {videos} video{'s' * (videos > 1)}"
