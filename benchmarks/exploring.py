"""What choosing among frontiers can be worth at most: an explorer that knows which of them leads to the goal.

`explore` leaves the choice of the frontier to the controller, and `explore_view` lets a model choose by naming a view.
Here perfect pixels plays the same seeds twice, with the controller's choice and with the best choice there is: the
frontier on the shortest way to the goal. The last line is JSON.

    .venv/bin/python benchmarks/exploring.py [--episodes 50] [--seed 0] [--out runs/exploring]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.registry import NAMESPACE, PolicySpec, register_policy
from si_embodied.planner import Planner
from si_embodied.policies.controllers import MobileController
from si_embodied.policies.perfect_pixels import perfect_pixels_backend
from si_embodied.policies.planner_policy import SpatialPlannerPolicy, embodiment_of
from si_embodied.policies.skills.exploration import Explorer
from si_embodied.studies.playing import Played, paired, play

if TYPE_CHECKING:
    from si_embodied.evaluation.registry import MakePolicy, PolicySettings
    from si_embodied.policies.mapping import Frontier

TASKS = (("Apartment-v0", "objectnav"), ("Apartment-v0", "route"), ("HabitatObjectNav-v0", "objectnav"))
KNOWS = "knows-the-way"


class KnowingExplorer(Explorer):
    """Visits the frontier on the shortest way to the goal."""

    world: Any

    def _gain(self, frontier: Frontier) -> float:
        truth = self.world.ground_truth
        return -float(frontier.path_length_m + truth.distance_from(frontier.x, frontier.y))


class KnowingController(MobileController):
    """A base that explores with it."""

    world: Any

    def reset(self) -> None:
        """Clear the map."""
        super().reset()
        self._explorer = KnowingExplorer(self._base, self._mapper)
        self._explorer.world = self.world


def knowing(settings: PolicySettings) -> MakePolicy:
    """Perfect pixels with that controller."""

    def make(env: Any, _: int) -> SpatialPlannerPolicy:
        robot = embodiment_of(env)
        controller = type("Controller", (KnowingController,), {"world": env.unwrapped})(robot)
        policy = SpatialPlannerPolicy(Planner(perfect_pixels_backend(env), robot, settings.planner))
        policy._controller = controller
        return policy

    return make


def main() -> None:
    """Play both on every task and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/exploring"))
    args = parser.parse_args()
    register_policy(PolicySpec(KNOWS, "perfect pixels that knows which frontier leads to the goal", False, knowing))
    results = {}
    for env, task in TASKS:
        config = EvaluationConfig(f"{NAMESPACE}/{env}", KNOWS, task, episodes=args.episodes, seed=args.seed)
        controllers, best = (
            Played.of(play(replace(config, policy=name), args.out / f"{env}-{task}-{name}.jsonl"))
            for name in ("perfect-pixels", KNOWS)
        )
        success, spl = paired(controllers, best)
        results[f"{env} {task}"] = {
            "success": [controllers.score.mean, best.score.mean],
            "spl": [controllers.figures[0], best.figures[0]],
            "plans": [controllers.figures[2], best.figures[2]],
            "McNemar": asdict(success),
            "SPL difference": None if spl is None else asdict(spl),
        }
        print(env, task, results[f"{env} {task}"], flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
