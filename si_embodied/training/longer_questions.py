"""Questions of the tabletop's other tasks, for prompts that show what was tried: plans have any number of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from si_embodied.envs.scenes.tabletop import SORTER_HOLES
from si_embodied.envs.scenes.tabletop_tasks import LIKE, LOOKS
from si_embodied.memory import outcome_words
from si_embodied.training.questions import Question, choose, plan_json, subgoal
from si_embodied.training.tabletop_questions import FLAT, TabletopQuestions
from si_embodied.types import Code

if TYPE_CHECKING:
    from si_embodied.training.annotations import Container

_HOLES = {str(hole.shape): hole.name for hole in SORTER_HOLES}
_ROUND = ("cylinder", "ball")
_TOWER = (
    "build a tower: the {2} at the bottom, the {1} on it, and the {0} on top",
    "stack the {1} on the {2}, then stack the {0} on the {1}",
)


class LongerQuestions(TabletopQuestions):
    """Sorting, describing objects, and instructions with two parts, beside the shorter questions."""

    def plan(self) -> Question | None:
        """One of these or of the shorter ones, about as often."""
        drawers = (self._sorted, self._described, self._two_parts, *3 * (super().plan,))
        question = drawers[int(self._rng.integers(len(drawers)))]() if self._picks else None
        return question or super().plan()

    def _pick(self, name: str) -> dict[str, Any]:
        return subgoal("pick", name, self._picks[name])

    def _release(self, container: Container) -> dict[str, Any]:
        point = self._openings[container.key]
        return subgoal("place", container.name, point)

    def _sorted(self) -> Question | None:
        """Any object that belongs in a bin; or the one that fits a hole, whose own place is not known."""
        bins = {c.name.split()[0]: c for c in self._named if c.kind == "bin"}
        if len(bins) < 2:
            return self._fitting()
        things = [o for o in self._objects.values() if o.name in self._picks]
        fitting = [o for o in things if o.colour in bins]
        if not fitting:
            return None
        words = "put the objects that have the colour of a bin in the bin of their colour"
        if len(fitting) == len(things):
            words = "put each object in the bin of its colour"
        one = choose(self._rng, fitting)
        return Question(words, plan_json([self._pick(one.name), self._release(bins[one.colour])], done=True), "sort")

    def _fitting(self) -> Question | None:
        """Pick up what fits a hole; or name the hole, once it is picked up."""
        if not any(c.kind == "shape sorter" for c in self._annotation.containers):
            return None
        shapes = [o.category for o in self._objects.values()]
        fitting = [
            name
            for name in self._picks
            if (shape := self._objects[name].category) in _HOLES and shapes.count(shape) == 1
        ]
        if not fitting:
            return None
        name = choose(self._rng, fitting)
        words = ("into its hole of the shape sorter", "into the hole of the shape sorter that fits its shape")
        instruction = f"put the {self._objects[name].category} {choose(self._rng, words)}"
        if self._rng.random() < 0.5:
            return Question(instruction, plan_json([self._pick(name)], done=False), "sort")
        place = plan_json([subgoal("place", _HOLES[self._objects[name].category], [0, 0])], done=False)
        return Question(instruction, place[: place.index('","view"')], "sort", f"pick {name}: {outcome_words(Code.OK)}")

    def _described(self) -> Question | None:
        """An object by what its shape or its colour is like."""
        if not self._named:
            return None
        objects = [o for o in self._objects.values() if o.category not in ("bowl", "bin", "shape sorter")]
        pairs, colours = [(o.category, o.colour) for o in objects], [o.colour for o in objects]
        options = []
        for one in (o for o in objects if o.name in self._picks):
            if one.category in LOOKS and pairs.count((one.category, one.colour)) == 1:
                options.append((one.name, LOOKS[one.category].format(one.colour)))
            if one.colour in LIKE and colours.count(one.colour) == 1:
                options.append((one.name, f"the object that has the colour of {LIKE[one.colour]}"))
            if (
                one.category in ("cylinder", "ball")
                and sum((s, one.colour) in pairs for s in ("cylinder", "ball")) == 1
            ):
                options.append((one.name, f"the round {one.colour} thing"))
        if not options:
            return None
        (name, words), container = choose(self._rng, options), choose(self._rng, self._named)
        plan = plan_json([self._pick(name), self._release(container)], done=True)
        return Question(f"put {words} in the {container.name}", plan, "visual")

    def _two_parts(self) -> Question | None:
        """A tower of three, two objects into two containers, or one onto another and one into a container."""
        names = [str(name) for name in self._rng.permutation(list(self._picks))]
        onto = self._annotation.onto
        flat = [name for name in names if name in onto and self._objects[name].category in FLAT]
        first, *others = names
        if len(flat) >= 3 and self._rng.random() < 0.5:
            top, middle, bottom = flat[:3]
            words = choose(self._rng, _TOWER).format(top, middle, bottom)
            steps = [self._pick(middle), subgoal("place", bottom, onto[bottom]), self._pick(top)]
            return Question(words, plan_json(steps, done=False), "complex")
        if len(self._named) == 2 and others:
            one, two = self._named
            words = f"put the {first} in the {one.name} and the {others[0]} in the {two.name}"
            steps = [self._pick(first), self._release(one), self._pick(others[0]), self._release(two)]
            return Question(words, plan_json(steps, done=True), "complex")
        below = next((name for name in flat if name != first), None)
        third = next((name for name in others if name != below), None)
        if not self._named or below is None or third is None or self._objects[first].category == "ball":
            return None
        container = choose(self._rng, self._named)
        words = f"stack the {first} on the {below}, and put the {third} in the {container.name}"
        steps = [self._pick(first), subgoal("place", below, onto[below]), self._pick(third), self._release(container)]
        return Question(words, plan_json(steps, done=True), "complex")
