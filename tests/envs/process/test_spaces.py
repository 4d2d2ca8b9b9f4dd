"""Spaces survive a round trip between processes."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from si_embodied.envs.process.spaces import from_values, to_values
from si_embodied.envs.spaces import observation_space
from si_embodied.errors import MessageError

SPACES = [
    spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, np.inf], np.float32)),
    spaces.Box(0, 255, (4, 5, 3), np.uint8),
    spaces.Discrete(7),
    spaces.Discrete(3, start=-1),
    spaces.MultiBinary((2, 3)),
    spaces.MultiDiscrete([3, 4]),
    spaces.Text(20, min_length=0, charset="abc "),
    spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1)]),
    spaces.Sequence(spaces.Discrete(5)),
    spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Dict({"c": spaces.MultiBinary(3)})}),
    observation_space(2, 6, 8, max_range_m=20.0, arm=True),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_it_is_the_same_and_samples_the_same(space: gymnasium.Space) -> None:
    again = from_values(to_values(space))
    assert again == space
    space.seed(3), again.seed(3)
    assert spaces.utils.flatten_space(space) == spaces.utils.flatten_space(again)
    assert space.contains(again.sample())


def test_another_kind_of_space_is_named() -> None:
    with pytest.raises(MessageError, match="Graph"):
        to_values(spaces.Graph(spaces.Box(0, 1), None))
