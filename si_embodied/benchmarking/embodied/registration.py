"""Registers the protocol's worlds with Gymnasium, and its planners with `evaluation`, when it is imported.

An evaluation names this module in its environment's id, so that worker processes import it too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.benchmarking.embodied.policy import ProtocolPolicy
from si_embodied.benchmarking.embodied.prompts import Prompter, load_prompter
from si_embodied.envs import HABITAT_REARRANGE_ID, TABLETOP_ID
from si_embodied.errors import extra
from si_embodied.evaluation.registry import PolicySpec, opened_for_episodes, policies, register_policy

with extra("sim"):
    import gymnasium

if TYPE_CHECKING:
    from si_embodied.evaluation.registry import Env, MakePolicy, PolicySettings
    from si_embodied.policies.base import Policy

NAMESPACE = "EmbodiedBench"
_HERE = "si_embodied.benchmarking.embodied"
_ENTRY_POINTS = {
    TABLETOP_ID: f"{_HERE}.table:ProtocolTabletop",
    HABITAT_REARRANGE_ID: f"{_HERE}.house:ProtocolRearrange",
}
PROTOCOL_IDS = {
    env_id: env_id.replace("si_embodied/", f"{_HERE}.registration:{NAMESPACE}/") for env_id in _ENTRY_POINTS
}
"""The id under the protocol of each world's own."""

POLICY, ORACLE = "embodiedbench", "embodiedbench-oracle"


def _model(settings: PolicySettings) -> MakePolicy:
    opened = opened_for_episodes(settings)
    return lambda env, _: ProtocolPolicy(opened(), _world(env), _prompter(env, settings))


def _oracle(settings: PolicySettings) -> MakePolicy:
    def make(env: Env, _: int) -> Policy:
        from si_embodied.benchmarking.embodied.oracle import oracle_backend

        return ProtocolPolicy(oracle_backend(_world(env)), _world(env), _prompter(env, settings))

    return make


def _world(env: Env) -> Any:
    return env.unwrapped


def _prompter(env: Env, settings: PolicySettings) -> Prompter:
    args = dict(settings.args)
    args["file"] = Path(args["file"]) if args.get("file") else None
    args.pop("file_sha256", None)
    return load_prompter(_world(env).kind, **args)


for _id, _entry_point in _ENTRY_POINTS.items():
    _name = PROTOCOL_IDS[_id].partition(":")[2]
    if _name not in gymnasium.registry:
        gymnasium.register(id=_name, entry_point=_entry_point)
for _spec in (
    PolicySpec(POLICY, "a model that answers EmbodiedBench's prompt", True, _model),
    PolicySpec(ORACLE, "privileged: answers EmbodiedBench's prompt from ground truth", False, _oracle),
):
    if _spec.name not in policies():
        register_policy(_spec)
