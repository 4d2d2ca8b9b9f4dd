"""Differential inverse kinematics of the arm, at half the cost of mink's `solve_ik`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import extra

with extra("sim"):
    import daqp
    import mink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_DAMPING = 1e-6
_NO_BOUND = 1e30  # daqp's infinity


class ToolSolver:
    """Finds the joint velocities that bring a site to a pose, for an arm whose joints are all hinges.

    The quadratic program is that of `mink.solve_ik` with a frame task, a posture task, and the limits of joints and
    speeds: the same numbers in the same order, so that the solution is equal to the last bit. What does not change from
    one control step to the next is computed once, and the checks of a well-formed program are left out.
    """

    def __init__(
        self, configuration: mink.Configuration, site: str, speeds_rad_s: Mapping[str, float], period_s: float
    ) -> None:
        """Prepare the program.

        Args:
            configuration: of the arm; the caller moves it.
            site: the name of the site.
            speeds_rad_s: the largest speed of each joint, by name.
            period_s: of the control steps.
        """
        model = configuration.model
        self._configuration, self._period_s = configuration, period_s
        self._task = mink.FrameTask(site, "site", position_cost=1.0, orientation_cost=0.3, gain=1.0, lm_damping=1e-4)
        self._posture = mink.PostureTask(model, cost=2e-3)
        self._joints = mink.ConfigurationLimit(model)
        bounds = [limit.compute_qp_inequalities(configuration, period_s) for limit in self._limits(speeds_rad_s)]
        self._rows = np.vstack([bound.G for bound in bounds])  # (m, nv)
        self._upper = np.hstack([bound.h for bound in bounds])  # (m,), of which the first depend on the joints
        self._lower = np.full(len(self._upper), -_NO_BOUND)
        self._kinds = np.zeros(len(self._upper), np.intc)  # inequalities
        self._weights = np.zeros((6 + model.nv, model.nv))  # of the tool's error, then of the posture's
        self._weights[6:] = self._posture.cost[:, None] * np.eye(model.nv)
        self._errors = np.zeros(6 + model.nv)

    def _limits(self, speeds_rad_s: Mapping[str, float]) -> tuple[mink.Limit, mink.Limit]:
        return self._joints, mink.VelocityLimit(self._configuration.model, dict(speeds_rad_s))

    def prefer(self, q: NDArray[np.float64]) -> None:
        """Prefer joint angles (nq,) where the tool's pose leaves a choice."""
        self._posture.set_target(q)

    def velocity(self, waypoint: mink.SE3) -> NDArray[np.float64]:
        """Joint velocities (nv,) towards a pose of the site, rad/s.

        Raises:
            mink.NoSolutionFound: the limits leave none.
        """
        self._task.set_target(waypoint)
        weights, errors, q = self._weights, self._errors, self._configuration.q
        weights[:6], errors[:6], damping = self._task.compute_qp_residual(self._configuration)
        errors[6:] = self._posture.cost * (-self._posture.gain * (q - self._posture.target_q))
        hessian = weights.T @ weights
        hessian.flat[:: len(q) + 1] += _DAMPING + damping
        limits, joints = self._joints, self._joints.indices
        self._upper[: len(joints)] = limits.gain * (limits.upper - q)[joints]
        self._upper[len(joints) : 2 * len(joints)] = limits.gain * (q - limits.lower)[joints]
        step, _, flag, _ = daqp.solve(
            hessian, -(errors @ weights), self._rows, self._upper, self._lower, self._kinds
        )  # fmt: skip
        if flag <= 0:
            raise mink.NoSolutionFound("daqp")
        velocity: NDArray[np.float64] = step / self._period_s
        return velocity
