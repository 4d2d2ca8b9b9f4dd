"""Checks every question type's answers with a second method: scene values, ray casts, projections, image analysis."""

from __future__ import annotations

import cmath
import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest

pytest.importorskip("mujoco")

import mujoco

from si_embodied.data.questions import assembly, base, metric, question_types, reconstruction, visibility
from si_embodied.data.questions.base import LETTERS, LeftOut, Question, Slot
from si_embodied.data.scenes import Scene
from si_embodied.data.views import ApartmentStage, LabelledView, TabletopStage
from si_embodied.envs.scenes.apartment import Furniture
from si_embodied.envs.scenes.relations import side_offsets
from si_embodied.envs.scenes.tabletop import SORTER_HOLES
from si_embodied.envs.scenes.tasks import unique_phrases
from si_embodied.geometry import Pose, project

SIZE = 160
ASKED = 3  # of each type


@dataclasses.dataclass
class Asked:
    """A question, with the marks drawn and the views rendered for it."""

    scene: Scene
    stage: ApartmentStage | TabletopStage | None
    question: Question
    marks: list[tuple[np.ndarray, list[tuple[float, float, str]]]]  # per image: the unmarked image and its marks
    looks: list[tuple[float, float, float, float]]

    @property
    def answer(self) -> str:
        """The right option's text, or the answer."""
        q = self.question
        return q.options[LETTERS.index(q.answer)] if q.form == "choice" else q.answer

    def view(self, k: int = 0) -> LabelledView:
        """The view behind image `k`, whose marks are drawn into a copy."""
        rgb = self.marks[k][0] if self.marks else self.question.images[k]
        return next(v for v in self.scene.views if np.array_equal(v.frame.rgb, rgb))

    def id_at(self, mark: int, k: int = 0) -> int:
        """The object under a mark of image `k`."""
        u, v, _ = self.marks[k][1][mark]
        return int(self.view(k).instances[int(v), int(u)])

    def piece(self, mark: int, k: int = 0) -> Furniture:
        """The furniture under a mark."""
        assert isinstance(self.stage, ApartmentStage)
        return self.stage.apartment.furniture[self.id_at(mark, k)]

    def named(self) -> list[Furniture]:
        """The furniture that the question names, in its order."""
        assert isinstance(self.stage, ApartmentStage)
        phrases = unique_phrases(self.stage.apartment)
        return [self.stage.apartment.piece(name) for name in self._in_order(phrases)]

    def things(self) -> list[tuple[str, complex]]:
        """The table objects that the question names, in its order, with positions x + y i (x forward, y left)."""
        assert isinstance(self.stage, TabletopStage)
        drawn = self.stage.task.scene.objects
        names = self._in_order({o.name: o.name for o in drawn})
        return [(n, next(complex(o.x_m, o.y_m) for o in drawn if o.name == n)) for n in names]

    def _in_order(self, phrases: dict[str, str]) -> list[str]:
        found = [(m.start(), n) for n, p in phrases.items() if (m := re.search(rf"\bthe {p}\b", self.question.text))]
        return [name for _, name in sorted(found)]

    def place(self, name: str) -> complex:
        """The position drawn for a named object on the table."""
        assert isinstance(self.stage, TabletopStage)
        thing = self.stage.task.scene.object(name)
        return complex(thing.x_m, thing.y_m)


@pytest.fixture(scope="module")
def scenes() -> Iterator[dict[str, list[tuple[Scene, ApartmentStage | TabletopStage | None]]]]:
    with ExitStack() as stack:
        made: dict[str, list[tuple[Scene, ApartmentStage | TabletopStage | None]]] = {"figures": []}
        made["figures"] = [(Scene("figures", 0, image_size=SIZE), None)]
        made["apartment"] = []
        for seed in (2, 11):
            stage = stack.enter_context(ApartmentStage(seed, image_size=SIZE))
            poses = stage.poses(np.random.default_rng(seed))
            views = (stage.view(*pose) for _, pose in zip(range(18), poses, strict=False))
            rich = tuple(v for v in views if len(visibility.clear_objects(v)) >= 2)
            made["apartment"].append((Scene("apartment", seed, rich, stage.view, stage.grid, (), SIZE), stage))
        for source, tasks in (("tabletop", ("stack", "complex", "visual")), ("sorter", ("sort",) * 3)):
            made[source] = []
            for seed, task in zip((8, 17, 25), tasks, strict=True):
                table = stack.enter_context(TabletopStage(seed, task=task, image_size=SIZE))
                made[source].append((Scene(source, seed, (table.view(),), image_size=SIZE), table))
        yield made


def ask(name: str, scenes: dict, monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """A few questions of a type, one per slot."""
    (kind,) = question_types((name,))
    made: list[Asked] = []
    drawn: list = []
    for module in (visibility, metric, reconstruction):
        monkeypatch.setattr(
            module,
            "draw_marks",
            lambda rgb, marks, draw=module.draw_marks: drawn.append((rgb, marks)) or draw(rgb, marks),
        )
    for attempt in range(60):
        scene, stage = scenes[kind.source][attempt % len(scenes[kind.source])]
        looks: list = []
        if scene.look is not None:
            look = scene.look
            scene = dataclasses.replace(scene, look=lambda *p, look=look, looks=looks: looks.append(p) or look(*p))
        drawn.clear()
        try:
            question = kind.ask(scene, Slot(len(made)), np.random.default_rng(attempt))
        except LeftOut:
            continue
        made.append(Asked(scene, stage, question, list(drawn), looks))
        if len(made) == ASKED:
            return made
    assert made, f"no question of type {name} in 60 attempts"
    return made


def xy(piece: Furniture) -> complex:
    return complex(*piece.centre)


def ray_depth(asked: Asked, u: float, v: float) -> float:
    """Depth of a pixel along the optical axis, by casting a ray."""
    assert isinstance(asked.stage, ApartmentStage)
    frame = asked.view().frame
    K, T = frame.intrinsics, frame.T_map_camera
    ray = T.rotation @ np.array([(u - K.cx) / K.fx, (v - K.cy) / K.fy, 1.0])
    geom, groups = np.zeros(1, np.int32), np.array([1, 1, 1, 0, 0, 0], np.uint8)
    distance = mujoco.mj_ray(asked.stage.model, asked.stage.data, T.translation, ray, groups, 1, -1, geom)
    return float(distance)  # of a vector whose part along the axis is 1


def check_depth(a: Asked) -> None:
    ((u, v, _),) = a.marks[0][1]
    assert float(a.answer) == pytest.approx(ray_depth(a, u, v), abs=0.12)


def check_nearest_point(a: Asked) -> None:
    depths = {text: ray_depth(a, u, v) for u, v, text in a.marks[0][1]}
    assert a.answer == f"point {min(depths, key=lambda text: depths[text])}"


def check_distance(a: Asked) -> None:
    assert float(a.answer) == pytest.approx(abs(xy(a.piece(0)) - xy(a.piece(1))), abs=0.051)


def check_table_distance(a: Asked) -> None:
    (_, one), (_, other) = a.things()
    assert float(a.answer) == pytest.approx(100 * abs(one - other), abs=1.5)


def check_height(a: Asked) -> None:
    assert float(a.answer) == pytest.approx(100 * a.piece(0).bounds[1][2], abs=0.51)


def check_farther(a: Asked) -> None:
    eye = complex(*a.view().frame.T_map_camera.translation[:2])
    far = max((0, 1), key=lambda k: abs(xy(a.piece(k)) - eye))
    assert a.answer == f"piece {far + 1}"


def check_taller(a: Asked) -> None:
    assert a.answer == f"piece {1 + max((0, 1), key=lambda k: a.piece(k).bounds[1][2])}"


def check_nearest_marked(a: Asked) -> None:
    near = min((1, 2), key=lambda k: abs(xy(a.piece(k)) - xy(a.piece(0))))
    assert a.answer == f"piece {near}"


def check_left_right(a: Asked) -> None:
    anchor, thing = a.named()
    frame = a.view().frame

    def column(piece: Furniture) -> float:
        middle = (piece.bounds[0] + piece.bounds[1]) / 2
        return float(project(frame.intrinsics, frame.T_map_camera.inverse().apply(middle))[0])

    assert a.answer == ("on its left" if column(thing) < column(anchor) else "on its right")


def check_front_behind(a: Asked) -> None:
    (_, thing), (_, anchor) = a.things()
    assert a.answer == ("in front of it" if thing.real < anchor.real else "behind it")


def check_nearest(a: Asked) -> None:
    ((_, anchor),) = a.things()
    assert a.answer == min(a.question.options, key=lambda name: abs(a.place(name) - anchor))


def check_between(a: Asked) -> None:
    assert isinstance(a.stage, TabletopStage)
    drawn = [a.stage.task.scene.objects[a.id_at(k)] for k in range(4)]
    one, other, *offered = (complex(o.x_m, o.y_m) for o in drawn)
    # The angle between the two as seen from an object is wide if it is between them.
    angles = [abs(cmath.phase((one - p) / (other - p))) for p in offered]
    assert a.answer == ("object 3" if angles[0] > angles[1] else "object 4")
    assert max(angles) > math.radians(100)


def check_facing(a: Asked) -> None:
    anchor, thing = a.named()
    right_of_who_faces_it, _ = side_offsets(thing, anchor)
    # With one's back to it, left and right swap.
    assert a.answer == ("on your left" if right_of_who_faces_it > 0 else "on your right")


def check_from_place(a: Asked) -> None:
    here, there, thing = (xy(p) for p in a.named())
    assert a.answer == ("on your left" if ((thing - here) / (there - here)).imag > 0 else "on your right")


def check_route_turn(a: Asked) -> None:
    first, second, third = (xy(p) for p in a.named())
    assert a.answer == ("to the left" if ((third - second) / (second - first)).imag > 0 else "to the right")


def check_across_table(a: Asked) -> None:
    (_, anchor), (_, thing) = a.things()
    eyes = {"far side": (1.4, 0.0), "robot's left": (0.6, 1.0), "robot's right": (0.6, -1.0)}
    eye = next(np.array([*e, 1.4]) for words, e in eyes.items() if words in a.question.text)
    ahead = np.array([0.6, 0.0, 0.7]) - eye
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    camera = Pose(np.column_stack([right, np.cross(ahead, right), ahead]), eye)
    columns = [float(c[0] / c[2]) for c in (camera.inverse().apply([p.real, p.imag, 0.72]) for p in (thing, anchor))]
    assert a.answer == ("on its left" if columns[0] < columns[1] else "on its right")


def check_same_object(a: Asked) -> None:
    target = a.id_at(0, 0)
    assert [a.id_at(k, 1) == target for k in range(3)] == [a.answer == f"mark {k + 1}" for k in range(3)]


def check_count(a: Asked) -> None:
    ids = {a.id_at(mark, k) for k in (0, 1) for mark in (0, 1)}
    assert a.answer == {2: "two", 3: "three", 4: "four"}[len(ids)]


def check_camera_motion(a: Asked) -> None:
    T = a.view().frame.T_map_camera
    before, ahead = complex(*T.translation[:2]), complex(*T.rotation[:2, 2])
    x, y, yaw, _ = a.looks[-1]
    moved = ((complex(x, y) - before) / ahead).real
    turned = cmath.phase(cmath.exp(1j * yaw) / ahead)
    if abs(moved) > 0.1:
        assert abs(turned) < 1e-3
        assert a.answer == ("drove forward" if moved > 0 else "drove backward")
    else:
        assert a.answer == ("turned left" if turned > 0 else "turned right")


def check_viewpoint(a: Asked) -> None:
    frame = a.view().frame
    K, T = frame.intrinsics, frame.T_map_camera
    places = []
    for u, v, _ in a.marks[0][1]:
        ray = T.rotation @ np.array([(u - K.cx) / K.fx, (v - K.cy) / K.fy, 1.0])
        places.append(complex(*(T.translation - ray * T.translation[2] / ray[2])[:2]))  # where it meets the floor
    taken_from = complex(*a.looks[-1][:2])
    nearest = min(range(3), key=lambda k: abs(places[k] - taken_from))
    assert abs(places[nearest] - taken_from) < 0.1
    assert a.answer == f"place {nearest + 1}"


def check_which_hole(a: Asked) -> None:
    assert isinstance(a.stage, TabletopStage)
    shape = a.stage.task.scene.objects[a.id_at(0)].shape
    holes = {hole.shape: f"the {hole.name}" for hole in SORTER_HOLES}
    assert a.answer == holes.get(shape, "none of them")


def coloured(rgb: np.ndarray) -> np.ndarray:
    return rgb.max(axis=-1).astype(int) - rgb.min(axis=-1) > 60


def read_cells(mask: np.ndarray, cell_px: float) -> np.ndarray:
    """The figure drawn in a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    shape = [max(1, round(side / cell_px)) for side in box.shape]
    centres = [(np.arange(n) + 0.5) * box.shape[i] / n for i, n in enumerate(shape)]
    return box[np.ix_(*(c.astype(int) for c in centres))]


def panels(rgb: np.ndarray, cell: float) -> list[np.ndarray]:
    size = rgb.shape[0]
    mask = coloured(rgb)[int(0.52 * size) : int(0.89 * size)]
    return [read_cells(mask[:, int(0.25 * k * size) : int(0.25 * (k + 1) * size)], cell * size) for k in range(4)]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def check_turned_figure(a: Asked) -> None:
    rgb = a.question.images[0]
    figure = read_cells(coloured(rgb)[: int(0.5 * SIZE)], 0.075 * SIZE)
    turned = [any(same(np.rot90(figure, k), panel) for k in range(4)) for panel in panels(rgb, 0.052)]
    assert turned == [letter == a.question.answer for letter in "ABCD"]


def check_turn_angle(a: Asked) -> None:
    mask = coloured(a.question.images[0])
    before, after = (read_cells(half, 0.09 * SIZE) for half in (mask[:, : SIZE // 2], mask[:, SIZE // 2 :]))
    names = {1: "90 degrees counter-clockwise", 2: "180 degrees", 3: "90 degrees clockwise"}
    turned = [k for k in names if same(np.rot90(before, k), after)]
    assert a.answer == (names[turned[0]] if turned else "it is a mirror image")


def check_missing_piece(a: Asked) -> None:
    rgb = a.question.images[0]
    board = read_cells(coloured(rgb)[: int(0.52 * SIZE)], 0.085 * SIZE)
    assert board.shape == (5, 5)
    hole = assembly.cropped(~board)
    assert [same(hole, p) for p in panels(rgb, 0.06)] == [letter == a.question.answer for letter in "ABCD"]


def check_folded_sheet(a: Asked) -> None:
    mask = coloured(a.question.images[0])

    def sheet(x: float, y: float, cell: float) -> np.ndarray:
        steps = (np.arange(4) - 1.5) * cell
        return mask[np.ix_(((y + steps) * SIZE).astype(int), ((x + steps) * SIZE).astype(int))]

    before = sheet(0.5, 0.26, 0.1)
    right = sheet(0.125 + 0.25 * "ABCD".index(a.question.answer), 0.72, 0.05)
    assert same(right, before | before[:, ::-1]) or same(right, before | before[::-1])
    assert right.sum() == 2 * before.sum()


def check_after_moves(a: Asked) -> None:
    ((_, start),) = a.things()
    ways = {"to the left": 1j, "to the right": -1j, "away from the robot": 1, "towards the robot": -1}
    steps = re.findall(r"(\d+) cm (to the left|to the right|away from the robot|towards the robot)", a.question.text)
    assert len(steps) == 2
    end = start + sum(int(cm) / 100 * ways[way] for cm, way in steps)
    assert a.answer == min(a.question.options, key=lambda name: abs(a.place(name) - end))


def check_pick_order(a: Asked) -> None:
    keys: dict[str, Callable[[complex], float]] = {
        "nearest to the robot first": lambda p: p.real, "farthest from the robot first": lambda p: -p.real,
        "from left to right": lambda p: -p.imag, "from right to left": lambda p: p.imag,
    }  # fmt: skip
    key = next(k for words, k in keys.items() if words in a.question.text)
    names = a.answer.split(", ")
    assert names == sorted(names, key=lambda name: key(a.place(name)))
    assert len(set(a.question.options)) == 4


def seen_mask(a: Asked) -> np.ndarray:
    """The pixels of the object that the question names."""
    view = a.view()
    name = max((o.name for o in view.objects if re.search(rf"the {o.name}\b", a.question.text)), key=len)
    return view.instances == next(o.id for o in view.objects if o.name == name)


def check_point(a: Asked) -> None:
    x, y = (int(part) for part in re.findall(r"\d+", a.answer))
    assert seen_mask(a)[int(y / 1000 * SIZE), int(x / 1000 * SIZE)]


def check_box(a: Asked) -> None:
    rows, columns = np.nonzero(seen_mask(a))
    expected = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / SIZE * 1000
    assert [int(part) for part in re.findall(r"\d+", a.answer)] == pytest.approx(expected, abs=0.51)


def check_which_mark(a: Asked) -> None:
    mask = seen_mask(a)
    for u, v, text in a.marks[0][1]:
        assert mask[int(v), int(u)] == (a.answer == f"mark {text}")


CHECKS: dict[str, Callable[[Asked], None]] = {
    "assembly.folded_sheet": check_folded_sheet,
    "assembly.missing_piece": check_missing_piece,
    "assembly.turn_angle": check_turn_angle,
    "assembly.turned_figure": check_turned_figure,
    "assembly.which_hole": check_which_hole,
    "grounding.box_room": check_box,
    "grounding.box_table": check_box,
    "grounding.point_room": check_point,
    "grounding.point_table": check_point,
    "grounding.which_mark": check_which_mark,
    "metric.depth": check_depth,
    "metric.distance": check_distance,
    "metric.farther_object": check_farther,
    "metric.height": check_height,
    "metric.nearest_point": check_nearest_point,
    "metric.table_distance": check_table_distance,
    "perspective.across_table": check_across_table,
    "perspective.facing": check_facing,
    "perspective.from_place": check_from_place,
    "reasoning.after_moves": check_after_moves,
    "reasoning.pick_order": check_pick_order,
    "reasoning.route_turn": check_route_turn,
    "reconstruction.camera_motion": check_camera_motion,
    "reconstruction.count": check_count,
    "reconstruction.same_object": check_same_object,
    "reconstruction.viewpoint": check_viewpoint,
    "relation.between": check_between,
    "relation.front_behind": check_front_behind,
    "relation.left_right": check_left_right,
    "relation.nearest": check_nearest,
    "relation.nearest_marked": check_nearest_marked,
    "relation.taller": check_taller,
}


def test_every_type_except_plans_has_a_check() -> None:
    assert {t.name for t in question_types() if t.capability != "planning"} == set(CHECKS)


def test_every_capability_has_three_types() -> None:
    counts = {c: sum(t.capability == c for t in question_types()) for c in base.CAPABILITIES}
    assert counts.pop("planning") == 2
    assert min(counts.values()) >= 3


@pytest.mark.parametrize("name", CHECKS)
def test_the_answer_is_right(name: str, scenes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in ask(name, scenes, monkeypatch):
        CHECKS[name](asked)


def test_slots_balance_answers_and_letters() -> None:
    pairs = [(Slot(n).content(4), Slot(n).position(4, 4)) for n in range(16)]
    assert sorted(pairs) == sorted(itertools.product(range(4), range(4)))
