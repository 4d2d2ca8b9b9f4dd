"""Ablations: what each part of the planner is worth, on the same seeds with it and without it.

The full planner has the default settings, and the checkpoint's own prompts if it names any. Each ablation changes one
of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from si_embodied.config import DEFAULT_PROMPTS, PlannerConfig, Prompts, checkpoint_prompts
from si_embodied.evaluation.registry import find_policy, make_env
from si_embodied.prompts import load_prompt
from si_embodied.skills import LookAround, skills_offered
from si_embodied.studies.playing import Played, evaluation, paired, play
from si_embodied.studies.plots import COLOURS, bars
from si_embodied.studies.results import Results, markdown
from si_embodied.studies.settings import AblationsRun

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.embodiment import Embodiment
    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.prompts.template import PromptTemplate
    from si_embodied.studies.results import Say

FULL = "full"


@dataclass(frozen=True, slots=True)
class Ablation:
    """One part of the planner that can be switched off."""

    name: str
    change: Callable[[PlannerConfig], PlannerConfig]
    matters: Callable[[PromptTemplate, Embodiment], bool]
    """Whether it changes anything for a planner with this prompt and robot."""


def _without_keyframes(config: PlannerConfig) -> PlannerConfig:
    return replace(config, memory=replace(config.memory, keyframes=0))


def _one_view_is_less(prompt: PromptTemplate, robot: Embodiment) -> bool:
    """Whether one view is less than no earlier views: the prompt shows several cameras, and the robot has them."""
    return len(robot.cameras) > 1 and prompt.limited(first_camera_only=True) != prompt


ABLATIONS = (
    Ablation("keyframes off", _without_keyframes, lambda prompt, _: "keyframes" in prompt.shown),
    Ablation(
        "look around off",
        lambda config: replace(config, look_around=False),
        lambda prompt, robot: LookAround in skills_offered(robot.kind, prompt.shown),
    ),
    Ablation(
        "objects off",
        lambda config: replace(config, memory=replace(config.memory, objects=0)),
        lambda prompt, _: "objects" in prompt.shown,
    ),
    Ablation(
        "confirmation off",
        lambda config: replace(config, confirm_done=False),
        lambda prompt, _: prompt.shows_attempts,
    ),
    Ablation("one view", lambda config: replace(_without_keyframes(config), first_camera_only=True), _one_view_is_less),
)


@dataclass(frozen=True, slots=True)
class AblationRow:
    """The episodes of one policy on one task in one configuration."""

    task: str  # "Apartment-v0:objectnav"
    policy: str
    configuration: str  # FULL or an ablation's name
    played: Played


# --- measuring ------------------------------------------------------------------------------------------------------


def study(run: AblationsRun, results: Path, *, report: Say = lambda _: None) -> AblationsResults:
    """Play what was not played before, and write `ablations.json` after every configuration.

    Raises:
        ConfigError: a task does not name its world, or the folder has records with other settings.
        UnknownNameError: there is no such world, task or policy.
    """
    rows: list[AblationRow] = []
    for task, policy in itertools.product(run.tasks, run.policies):
        for name, config in configurations(run, task, policy).items():
            records = run.out / f"{config.world}-{config.task}-{policy}-{name.replace(' ', '-')}.jsonl"
            played = play(config, records, workers=run.workers, report=report)
            rows.append(AblationRow(task, policy, name, Played.of(played)))
            AblationsResults(run.settings(), tuple(rows)).write(results / "ablations.json")
    return AblationsResults(run.settings(), tuple(rows))


def configurations(run: AblationsRun, task: str, policy: str) -> dict[str, EvaluationConfig]:
    """The full planner, and the ablations that change anything on this task, by name."""
    config = evaluation(run, task, policy)
    own = checkpoint_prompts(run.model) if find_policy(policy).needs_model else Prompts()
    full = PlannerConfig(own.or_else(DEFAULT_PROMPTS))
    env: Any = make_env(config).unwrapped
    robot: Embodiment = env.embodiment
    env.close()
    prompt = load_prompt(full.prompts.version(robot.kind))
    found = {FULL: full} | {each.name: each.change(full) for each in ABLATIONS if each.matters(prompt, robot)}
    return {name: replace(config, planner=planner) for name, planner in found.items()}


# --- reporting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AblationsResults(Results):
    """Rows by task, policy and configuration; the full planner comes first."""

    name: ClassVar[str] = "ablations"
    rows: tuple[AblationRow, ...]

    def headline(self) -> str:
        """The ablation of each policy that changes success most."""
        parts = []
        for policy in self._policies():
            ablated = [row for row in self.rows if row.policy == policy and row.configuration != FULL]
            if ablated:
                most = max(ablated, key=lambda row: abs(row.played.score.mean - self._full(row).played.score.mean))
                before, after = (100 * row.played.score.mean for row in (self._full(most), most))
                success, _ = paired(self._full(most).played, most.played)
                change = f"{most.task} from {before:.0f}% to {after:.0f}% (p = {success.p_value:.2g})"
                parts.append(f"{policy}, {most.configuration}, {change}" if before != after else f"{policy}, none")
        return f"Largest change of success: {'; '.join(parts) or 'none'}"

    def table(self) -> list[str]:
        """A line per configuration, with paired tests against the full planner."""
        head = ("task", "policy", "configuration", "success", "full won alone", "this won alone", "p (McNemar)", "SPL",
                "SPL less full's", "p (sign flip)", "plans an episode")  # fmt: skip
        body = []
        for row in self.rows:
            spl, _, plans = row.played.figures
            won, difference = ["–"] * 3, ["–"] * 2
            if row.configuration != FULL:
                success, paired_spl = paired(self._full(row).played, row.played)
                won = [str(success.only_first), str(success.only_second), f"{success.p_value:.2g}"]
                if paired_spl is not None:
                    difference = [f"{paired_spl.mean:+.3f}", f"{paired_spl.p_value:.2g}"]
            body.append([row.task, row.policy, row.configuration, str(row.played.score), *won, spl, *difference, plans])
        return markdown(head, body)

    def draw(self, figure: Any) -> None:
        """A panel per policy, a line per configuration, a mark per task."""
        names = [FULL, *(each.name for each in ABLATIONS)]
        tasks = list(dict.fromkeys(row.task for row in self.rows))
        policies = self._policies()
        figure.set_size_inches(5 * len(policies) + 1, 1.5 + 0.16 * len(names) * (len(tasks) + 2))
        panels = figure.subplots(1, len(policies), sharey=True, squeeze=False)[0]
        for policy, axes in zip(policies, panels, strict=True):
            for number, task in enumerate(tasks):
                rows = [row for row in self.rows if (row.policy, row.task) == (policy, task)]
                means, reach = bars([row.played.score for row in rows])
                where = [names.index(row.configuration) + 0.8 * ((number + 0.5) / len(tasks) - 0.5) for row in rows]
                axes.errorbar(
                    means, where, xerr=reach, marker="o^sDvP*"[number % 7], color=COLOURS[number % 7], linestyle="",
                    capsize=2, elinewidth=1, label=task,
                )  # fmt: skip
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.set_xlim(-2, 102)
            axes.set_xlabel("success, % (95% interval)")
            axes.set_title(policy, loc="left")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(tasks))

    def _policies(self) -> list[str]:
        return list(dict.fromkeys(row.policy for row in self.rows))

    def _full(self, row: AblationRow) -> AblationRow:
        """The full planner on the same task with the same policy."""
        same = [one for one in self.rows if (one.task, one.policy) == (row.task, row.policy)]
        return next(one for one in same if one.configuration == FULL)
