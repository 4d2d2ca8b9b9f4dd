"""Every task's instructions, drawn from the environments' generators without rendering anything."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from si_embodied.envs.habitat.instructions import category_words
from si_embodied.envs.habitat.rearrange_tasks import REARRANGE_TASKS, draw_rearrangement
from si_embodied.envs.scenes.catalogue import CATALOGUE
from si_embodied.envs.scenes.generator import generate_apartment
from si_embodied.envs.scenes.tabletop_tasks import TASKS, draw_task
from si_embodied.envs.scenes.tasks import NAVIGATION_TASKS, task_candidates


def drawn_instructions(seeds: int) -> Iterator[str]:
    """Instructions of the first seeds."""
    for seed, task in itertools.product(range(seeds), TASKS):
        yield draw_task(task, np.random.default_rng((seed, 1))).instruction
    for seed in range(seeds):
        apartment = generate_apartment((seed, 0))
        rng = np.random.default_rng((seed, 2))
        for navigation in NAVIGATION_TASKS:
            yield from (one.instruction for one in task_candidates(apartment, navigation, rng))
        room = {piece.name: 3 for piece in apartment.furniture}
        for name in REARRANGE_TASKS:
            drawn = draw_rearrangement(apartment, name, room, rng)
            if drawn is not None:
                yield drawn.instruction
    for category in CATALOGUE:
        words = category_words(category)
        yield f"find {'an' if words[0] in 'aeiou' else 'a'} {words}"
    yield from ("go to where the goal picture was taken", "stay where you are")
    for x, y in itertools.product(("2.3 m ahead", "0.1 m behind"), ("10.5 m to the left", "4.0 m to the right")):
        yield f"go to the point {x} and {y} of where you start"
