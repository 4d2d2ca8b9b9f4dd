from typing import Any

import numpy as np
import pytest

mink = pytest.importorskip("mink")

from si_embodied.envs.mujoco.fetch import ARM_JOINTS, HOME_Q, TOOL_SITE, _kinematic_model  # noqa: E402
from si_embodied.envs.mujoco.inverse_kinematics import ToolSolver  # noqa: E402

PERIOD_S = 0.02
SPEEDS = {f"robot0:{name}": 3.0 for name in ARM_JOINTS}


def poses(model: Any, rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Joint angles around home, some of them on a limit."""
    low, high = np.where(model.jnt_limited[:, None], model.jnt_range, [[-3.0, 3.0]]).T
    angles = np.array(HOME_Q) + rng.normal(0.0, 0.8, (count, len(HOME_Q)))
    return list(np.clip(angles, low, high))


def test_the_solution_is_that_of_mink_to_the_last_bit():
    model, rng = _kinematic_model(), np.random.default_rng(0)
    configuration, home = mink.Configuration(model), np.array(HOME_Q)
    solver = ToolSolver(configuration, TOOL_SITE, SPEEDS, PERIOD_S)
    solver.prefer(home)
    tool = mink.FrameTask(TOOL_SITE, "site", position_cost=1.0, orientation_cost=0.3, gain=1.0, lm_damping=1e-4)
    posture = mink.PostureTask(model, cost=2e-3)
    posture.set_target(home)
    limits = [mink.ConfigurationLimit(model), mink.VelocityLimit(model, SPEEDS)]
    blocked = 0
    for q in poses(model, rng, 300):
        configuration.update(q)
        now = configuration.get_transform_frame_to_world(TOOL_SITE, "site")
        far_m = 10.0 ** rng.uniform(-4, -1)
        turn, shift_m = mink.SO3.exp(rng.normal(0.0, far_m, 3)), rng.normal(0.0, far_m, 3)
        target = mink.SE3.from_rotation_and_translation(now.rotation() @ turn, now.translation() + shift_m)
        tool.set_target(target)
        theirs = mink.solve_ik(configuration, [tool, posture], PERIOD_S, "daqp", damping=1e-6, limits=limits)
        ours = solver.velocity(target)
        assert np.array_equal(ours, theirs)
        blocked += np.abs(ours).max() > 2.999
    assert 0 < blocked < 300  # with and without a speed limit that binds


def test_a_joint_far_outside_its_limits_leaves_no_solution():
    model = _kinematic_model()
    configuration = mink.Configuration(model)
    solver = ToolSolver(configuration, TOOL_SITE, SPEEDS, PERIOD_S)
    q = np.array(HOME_Q)
    solver.prefer(q)
    limited = int(np.flatnonzero(model.jnt_limited)[0])
    q[limited] = model.jnt_range[limited, 1] + 1.0  # 1 rad in one step is more than the speed limit allows
    configuration.update(q)
    with pytest.raises(mink.NoSolutionFound):
        solver.velocity(configuration.get_transform_frame_to_world(TOOL_SITE, "site"))
