"""What the entry point calls. It may register skills, policies and worlds; imports of what is heavy stay inside."""

from __future__ import annotations


def register() -> None:
    """Add a policy that waits for its episode to end."""
    from si_embodied.embodiment import BaseAction
    from si_embodied.evaluation.registry import PolicySpec, register_policy
    from si_embodied.policies.base import Policy

    class Patient(Policy):
        def reset(self, task: object) -> None:
            """Nothing to forget."""

        def act(self, observation: object) -> int:
            """Wait."""
            return int(BaseAction.WAIT)

    register_policy(PolicySpec("patient", "waits", False, lambda settings: lambda env, seed: Patient()))
