"""From shards to training examples: dense labels of cells, and questions with answers drawn anew for each image."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import ConfigError
from si_embodied.memory import NOTHING_YET, outcome_words
from si_embodied.training.reasoning import REASONING, reasoned
from si_embodied.training.scenes import NOTHING, RENDER_PX
from si_embodied.types import Code

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_VISIBLE_PX = 40
"""An apartment's target with fewer pixels is not there; between 1 and this many, it is not asked for."""
NEAR_M = 2.3
"""A target nearer than this, to its middle, that the robot has just driven up to is the end of the task. Everywhere
else it looks again when it is there, so that one wrong guess does not end the task in the wrong place."""
NO_LABEL = -1

_SEEN_SHARE = 0.5
"""Of an apartment's instructions, those whose target is in view, if anything is."""
_RESEMBLING_SHARE = 0.6
"""Of the others, those that ask for something which resembles what is in view."""

_VERBS = ("find", "go to", "drive to", "look for")
_PUT = ("put the {0} in the {1}", "pick up the {0} and put it in the {1}", "place the {0} into the {1}")
_STACK = ("stack the {0} on the {1}", "put the {0} on top of the {1}", "set the {0} down on the {1}")
_BESIDE = {
    "left": "put the {0} to the left of the {1}, close to it, as seen from where you stand",
    "right": "put the {0} to the right of the {1}, close to it, as seen from where you stand",
    "front": "put the {0} in front of the {1}, on your side of it, close to it",
    "behind": "put the {0} behind the {1}, on the far side of it from you, close to it",
}
_CODES = tuple(code for code in Code if code not in (Code.NO_TRANSFORM, Code.EMERGENCY_STOP))
"""A robot's own codes came later: with them the shipped recipe would draw other examples."""
_FLAT = ("cube", "cylinder", "hexagonal prism")


@dataclass(frozen=True, slots=True)
class Question:
    """One instruction and the plan that answers it; without an instruction, a pointing fragment."""

    instruction: str | None
    answer: str  # the plan's JSON; of a fragment, up to and with the point's y
    kind: str  # what accuracy is counted by
    last: str = NOTHING_YET  # what the robot did before, as `Memory.last` says it
    absent: bool = False  # a fragment that asks for the point of something that is not in view
    glance: bool = False  # break off after the instruction: is its target in view, and where?


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """All images of some shards, in memory."""

    world: NDArray[np.uint8]  # (N,), 0 tabletop, 1 apartment
    images: NDArray[np.uint8]  # (N, H, W, 3), as the model sees them
    instances: NDArray[np.uint8]  # (N, RENDER_PX, RENDER_PX)
    notes: list[dict[str, Any]]
    labels: NDArray[np.int16]  # (N, cells, 4): category, colour, x, y; NO_LABEL where no thing is

    def __len__(self) -> int:
        return len(self.notes)


def load(
    directory: Path, categories: tuple[str, ...], colours: tuple[str, ...], grid: int, pattern: str = "*"
) -> Labelled:
    """Every complete shard of a directory, or those of a pattern ("tabletop-*"), in the order of their names.

    Raises:
        ConfigError: there is none.
    """
    files = sorted(directory.glob(f"{pattern}.json"))
    if not files:
        raise ConfigError(f"no shards {pattern!r} in {directory}: generate the data first")
    parts: list[tuple[Any, ...]] = []
    for file in files:
        told = json.loads(file.read_text(encoding="utf-8"))
        with np.load(file.with_suffix(".npz")) as arrays:
            images, instances = arrays["images"], arrays["instances"]
        labels = np.stack(
            [
                cell_labels(instance, note["objects"], categories, colours, grid, note.get("pick", {}))
                for instance, note in zip(instances, told["images"], strict=True)
            ]
        )
        world = np.full(len(images), told["world"] == "apartment", np.uint8)
        parts.append((world, images, instances, told["images"], labels))
    worlds, pictures, owners, notes, told_cells = zip(*parts, strict=True)
    return Labelled(
        np.concatenate(worlds),
        np.concatenate(pictures),
        np.concatenate(owners),
        list(itertools.chain(*notes)),
        np.concatenate(told_cells),
    )


def cell_labels(
    instance: NDArray[np.uint8],
    objects: list[dict[str, Any]],
    categories: tuple[str, ...],
    colours: tuple[str, ...],
    grid: int,
    picks: dict[str, list[int]],
) -> NDArray[np.int16]:
    """What each cell of a picture mostly shows (grid * grid, 4): category, colour, and x and y of the thing's point.

    A thing owns a cell of which it fills a part, or which holds a good part of the thing; of several, the one that it
    matters most for.
    """
    steps = (np.arange(RENDER_PX) * grid) // RENDER_PX
    cell = steps[:, None] * grid + steps[None, :]
    counts = np.bincount((cell.ravel().astype(np.int64) << 8) | instance.ravel(), minlength=grid * grid * 256)
    counts = counts.reshape(grid * grid, 256).astype(np.float64)
    labels = np.full((grid * grid, 4), NO_LABEL, np.int16)
    best = np.zeros(grid * grid)
    area = (RENDER_PX / grid) ** 2
    for thing in objects:
        if thing["pixels"] < 20 or thing["id"] == NOTHING:
            continue
        own = counts[:, thing["id"]]
        filled, share = own / area, own / thing["pixels"]
        score = np.where((filled > 0.10) | (share > 0.25), filled + share, 0.0)
        better = score > best
        best = np.where(better, score, best)
        x, y = picks.get(thing["name"], thing["point"])
        labels[better] = categories.index(thing["category"]), colours.index(thing["colour"]), x, y
    return labels


# --- questions ------------------------------------------------------------------------------------------------------


def subgoal(skill: str, name: str, point: list[int]) -> dict[str, Any]:
    """A subgoal that points into the first view."""
    return {"skill": skill, "object": name, "view": 0, "point": point}


def plan_json(subgoals: list[dict[str, Any]], *, done: bool) -> str:
    """A plan as the schema's serializer writes it."""
    return json.dumps({"subgoals": subgoals, "done": done}, separators=(",", ":"))


def fragment(skill: str, name: str, point: list[int]) -> Question:
    """Where the named thing is, without an instruction: a plan that breaks off after its first point."""
    text = plan_json([subgoal(skill, name, point)], done=True)
    return Question(None, text[: text.index("]")], f"point {skill}")


def absent_fragment(skill: str, name: str) -> Question:
    """The same question about something that is not in view: it breaks off where the point would be."""
    text = fragment(skill, name, [0, 0]).answer
    return Question(None, text[: text.rindex("[") + 1], f"absent {skill}", absent=True)


def questions(
    note: dict[str, Any], rng: np.random.Generator, *, fragments: int, plans: int, glances: int = 0
) -> list[Question]:
    """Draw questions about one image; glances are for apartments alone."""
    draw = _TablePlans(note, rng) if "pick" in note else _FlatPlans(note, rng)
    drawn: list[Question] = []
    pointed = draw.named()
    for index in rng.permutation(len(pointed))[:fragments]:
        drawn.append(pointed[int(index)])
    for _ in range(plans + max(0, fragments - len(pointed))):
        if question := draw.plan():
            drawn.append(question)
    for _ in range(glances):
        if question := draw.plan():
            drawn.append(replace(question, glance=True, kind="glance"))
    return [reasoned(one, note) for one in drawn] if note.get(REASONING) else drawn


def _arrived(name: str) -> str:
    return f"goto {name}: {outcome_words(Code.OK)}"


class _FlatPlans:
    """Questions in an apartment."""

    def __init__(self, note: dict[str, Any], rng: np.random.Generator) -> None:
        self._rng = rng
        self._visible: list[dict[str, Any]] = note["objects"]
        alike = Counter(o["name"] for o in self._visible)
        self._seen = [o for o in self._visible if alike[o["name"]] == 1 and o["pixels"] >= MIN_VISIBLE_PX]
        self._elsewhere = [name for name in note["scene_names"] if name not in alike]
        self._scene_names: list[str] = note["scene_names"]
        self._camera = note["camera_xy"]

    def named(self) -> list[Question]:
        there = [fragment("goto", o["name"], o["point"]) for o in self._seen]
        return there + [absent_fragment("goto", name) for _ in there if (name := self._absent())]

    def plan(self) -> Question | None:
        rng = self._rng
        verb = self._choose(_VERBS)
        if self._seen and rng.random() < _SEEN_SHARE:
            target = self._choose(self._seen)
            name, near = target["name"], math.dist(target["xy"], self._camera) < NEAR_M
            last = self._last(name, arrived_share=0.6 if near else 0.15)
            done = near and last == _arrived(name)
            steps = [subgoal("goto", name, target["point"])]
            return Question(f"{verb} the {name}", plan_json(steps, done=done), "goto", last)
        if not (name := self._absent()):
            return None
        answer = plan_json([{"skill": "explore"}], done=False)
        return Question(f"{verb} the {name}", answer, "explore", self._last(name, arrived_share=0.25))

    def _absent(self) -> str | None:
        """The name of something that is not in view, if there is a sensible one."""
        resembling = self._rng.random() < _RESEMBLING_SHARE
        pools = (self._resembling(), self._elsewhere) if resembling else (self._elsewhere, self._resembling())
        return next((str(self._choose(pool)) for pool in pools if pool), None)

    def _last(self, name: str, *, arrived_share: float) -> str:
        """What the robot may have done before: driven up to what it took for `name`, explored, failed, or nothing."""
        if self._rng.random() < arrived_share:
            return _arrived(name)
        what, code = self._choose(("explore", f"goto {name}", "plan")), self._choose(_CODES)
        failed = f"{what}: {outcome_words(code)}" if code is not Code.OK else NOTHING_YET
        return str(self._choose((f"explore: {outcome_words(Code.OK)}",) * 3 + (NOTHING_YET, NOTHING_YET, failed)))

    def _resembling(self) -> list[str]:
        """Things that are not in view but share their colour or their category with one that is.

        Only a glance that binds a colour to its thing can tell them from what is there.
        """
        from si_embodied.envs.scenes.furniture import COLOURS
        from si_embodied.envs.scenes.tasks import family

        there = {(family(o["category"]), o["colour"]) for o in self._visible}
        coloured = [name.split(" ", 1) for name in self._scene_names if name.split(" ")[0] in COLOURS]
        colours = {o["colour"] for o in self._visible}, {colour for colour, _ in coloured}
        categories = {category for _, category in coloured}, {o["category"] for o in self._visible}
        pairs = set(itertools.product(colours[0], categories[0])) | set(itertools.product(colours[1], categories[1]))
        return sorted(f"{colour} {category}" for colour, category in pairs if (family(category), colour) not in there)

    def _choose(self, options: Any) -> Any:
        return options[int(self._rng.integers(len(options)))]


class _TablePlans:
    """Questions at a table, in the words of its tasks."""

    def __init__(self, note: dict[str, Any], rng: np.random.Generator) -> None:
        self._rng, self._note = rng, note
        self._picks: dict[str, list[int]] = note["pick"]
        self._things = {o["name"]: o for o in note["objects"]}
        self._containers = [c for c in note["containers"] if c["kind"] != "shape sorter" and note["into"][c["key"]]]
        names = [c["name"] for c in note["containers"]]
        self._named = [c for c in self._containers if names.count(c["name"]) == 1]

    def named(self) -> list[Question]:
        found = [fragment("pick", name, point) for name, point in self._picks.items()]
        return found + [fragment("place", c["name"], self._note["into"][c["key"]]) for c in self._named]

    def plan(self) -> Question | None:
        if not self._picks:
            return None
        drawers = (self._base, self._base, self._beside, self._beside, self._one_of_two, self._extreme, self._stack)
        for index in self._rng.permutation(len(drawers)):
            if question := drawers[int(index)]():
                return question
        return None

    def _choose(self, options: Any) -> Any:
        return options[int(self._rng.integers(len(options)))]

    def _moved(self, name: str, onto: str, point: list[int]) -> str:
        return plan_json([subgoal("pick", name, self._picks[name]), subgoal("place", onto, point)], done=True)

    def _into(self, instruction: str, name: str, container: dict[str, Any], kind: str) -> Question:
        return Question(instruction, self._moved(name, container["name"], self._note["into"][container["key"]]), kind)

    def _base(self) -> Question | None:
        if not self._named:
            return None
        name, container = self._choose(list(self._picks)), self._choose(self._named)
        return self._into(self._choose(_PUT).format(name, container["name"]), name, container, "base")

    def _stack(self) -> Question | None:
        flat = [n for n in self._note["onto"] if n in self._things and self._things[n]["category"] in _FLAT]
        pairs = [(a, b) for b in flat for a in self._picks if a != b and self._things[a]["category"] != "ball"]
        if not pairs:
            return None
        above, below = self._choose(pairs)
        answer = self._moved(above, below, self._note["onto"][below])
        return Question(self._choose(_STACK).format(above, below), answer, "stack")

    def _beside(self) -> Question | None:
        spots = [s for s in self._note["beside"] if s[0] in self._picks and self._things[s[0]]["category"] != "ball"]
        if not spots:
            return None
        name, anchor, direction, point = self._choose(spots)
        return Question(_BESIDE[direction].format(name, anchor), self._moved(name, "table", point), "beside")

    def _one_of_two(self) -> Question | None:
        if len(self._containers) != 2 or self._containers[0]["name"] != self._containers[1]["name"]:
            return None
        one, other = self._containers
        options = []
        ways = [math.hypot(*c["xy"]) for c in (one, other)]
        if abs(ways[0] - ways[1]) >= 0.06:
            far, near = (one, other) if ways[0] > ways[1] else (other, one)
            options += [("farthest from you", far), ("nearest to you", near)]
        if abs(one["xy"][1] - other["xy"][1]) >= 0.12:
            left, right = (one, other) if one["xy"][1] > other["xy"][1] else (other, one)
            options += [("on your left", left), ("on your right", right)]
        if not options:
            return None
        where, container = self._choose(options)
        name = self._choose(list(self._picks))
        return self._into(f"put the {name} in the {one['kind']} that is {where}", name, container, "container")

    def _extreme(self) -> Question | None:
        if not self._named or len(self._things) < 3:
            return None
        container = self._choose(self._named)
        objects = [o for o in self._things.values() if o["category"] not in ("bowl", "bin", "shape sorter")]
        where = self._choose(["farthest to the left", "farthest to the right", f"nearest to the {container['name']}"])

        def rank(thing: dict[str, Any]) -> float:
            if where.startswith("nearest"):
                return math.dist(thing["xy"], container["xy"])
            return float(-thing["xy"][1] if where.endswith("left") else thing["xy"][1])

        ranked = sorted(objects, key=rank)
        if len(ranked) < 2 or rank(ranked[1]) - rank(ranked[0]) < 0.05 or ranked[0]["name"] not in self._picks:
            return None
        words = f"as seen from where you stand, put the object {where} in the {container['name']}"
        if where.startswith("nearest"):
            words = f"put the object {where} into it"
        return self._into(words, ranked[0]["name"], container, "extreme")
