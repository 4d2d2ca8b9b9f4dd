"""Moments as a recording for the Rerun viewer (an `.rrd` file), on a time line that can be scrubbed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.embodiment import MobileBase
from si_embodied.errors import RecordError, extra
from si_embodied.live.pictures import plan_marks
from si_embodied.types import Execute

with extra("rerun"):
    import rerun
    import rerun.blueprint as layout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from si_embodied.geometry import Pose
    from si_embodied.live.moment import Moment
    from si_embodied.types import CameraFrame, Decision, NavigationMap, Observation, Prompt

_APPLICATION = "si_embodied"
_QUALITY = 85
_SINCE_1970_S = 1e8
"""A robot's clock counts from 1970, a simulated one from its start."""
_ROBOT, _GOAL, _OBJECT, _VIEW, _REFUSED = (30, 95, 190), (26, 127, 55), (140, 60, 190), (160, 100, 20), (220, 70, 50)
_FLOOR = (90, 140, 220, 110)
_ON_FLOOR_M = 0.01  # above it, so that it is seen


class RerunFile:
    """Writes moments to one file.

    Entities: `map` (z up) with the robot, its way, the cameras with image and depth, goals, remembered views, known
    objects and the known floor; `plan` with the view that the plan points into; `prompt`, `answer`, `log`, and
    `latency`. Time lines: `step`, and `time` of the observation.
    """

    def __init__(self, path: Path, name: str) -> None:
        """Open the file, which replaces one that is there.

        Args:
            path: of the .rrd file.
            name: what the viewer calls the recording.

        Raises:
            RecordError: it cannot be written.
        """
        self._recording = rerun.RecordingStream(_APPLICATION, recording_id=name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._recording.save(path)
        except (OSError, RuntimeError) as error:
            raise RecordError(
                f"cannot write {str(path)!r}: {error}; give --rerun a place that can be written"
            ) from error
        self._recording.send_recording_name(name)
        self._log("map", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        self._laid_out = False
        self._decided = 0  # decisions written
        self._prompt: Prompt | None = None
        self._status = ""

    def add(self, moment: Moment) -> None:
        """Write a moment."""
        seen = moment.observation
        if not self._laid_out:
            self._recording.send_blueprint(_layout([frame.name for frame in seen.frames]))
            self._laid_out = True
            self._log("log", rerun.TextLog(_clean(f"{moment.title}: {moment.instruction}")))
        self._recording.set_time("step", sequence=moment.step)
        if seen.stamp_s > _SINCE_1970_S:
            self._recording.set_time("time", timestamp=seen.stamp_s)
        else:
            self._recording.set_time("time", duration=seen.stamp_s)
        self._add_robot(moment)
        for frame in seen.frames:
            self._add_camera(frame)
        count = moment.earlier + len(moment.decisions)
        if count > self._decided:
            self._decided = count
            self._add_decision(moment, moment.decisions[-1])
        if moment.status != self._status:
            self._status = moment.status
            self._log("log", rerun.TextLog(_clean(moment.status)))

    def close(self) -> None:
        """Finish the file."""
        self._recording.flush()
        self._recording.disconnect()

    def _log(self, entity: str, *what: Any, static: bool = False) -> None:
        self._recording.log(entity, *what, static=static)

    def _add_robot(self, moment: Moment) -> None:
        seen = moment.observation
        self._log("map/robot", _transform(seen.T_map_base))
        if isinstance(moment.robot, MobileBase):
            half = (moment.robot.radius_m, moment.robot.radius_m, moment.robot.height_m / 2)
            centre = (0.0, 0.0, moment.robot.height_m / 2)
            self._log("map/robot", rerun.Ellipsoids3D(half_sizes=[half], centers=[centre], colors=[_ROBOT]))
        if seen.arm is not None:
            self._log("map/tool", _transform(seen.arm.T_map_tool), rerun.Points3D([(0, 0, 0)], radii=0.02))
        if len(moment.trail) > 1:
            height_m = _ON_FLOOR_M if seen.arm is None else float(seen.arm.T_map_tool.translation[2])
            way = [(x, y, height_m) for x, y in moment.trail]
            self._log("map/way", rerun.LineStrips3D([way], colors=[_ROBOT]))

    def _add_camera(self, frame: CameraFrame) -> None:
        entity, lens = f"map/cameras/{frame.name}", frame.intrinsics
        self._log(entity, _transform(frame.T_map_camera))
        matrix = [[lens.fx, 0, lens.cx + 0.5], [0, lens.fy, lens.cy + 0.5], [0, 0, 1]]  # Rerun's pixels start at edges
        axes, size = rerun.ViewCoordinates.RDF, (lens.width, lens.height)
        self._log(entity, rerun.Pinhole(image_from_camera=matrix, resolution=size, camera_xyz=axes))
        self._log(f"{entity}/image", _image(frame.rgb))
        if frame.depth_m is not None:
            millimetres = np.clip(np.nan_to_num(frame.depth_m) * 1000, 0, 65535).astype(np.uint16)
            self._log(f"{entity}/depth", rerun.DepthImage(millimetres, meter=1000.0))

    def _add_decision(self, moment: Moment, decision: Decision) -> None:
        record, execution = decision.record, moment.execution
        executed = isinstance(decision, Execute)
        steps = () if decision.plan is None else decision.plan.subgoals
        words = ", then ".join(step.words for step in steps) or "done"
        text = words if executed else f"hold {record.code.name}: {record.message}"
        self._log("log", rerun.TextLog(_clean(text), level="INFO" if executed else "WARN"))
        answer = "\n\n".join([*record.thoughts, *record.raw_text]) or "(none)"
        self._log("answer", rerun.TextDocument(_clean(answer)))
        for part, seconds in record.latency_s.items():
            self._log(f"latency/{part}", rerun.Scalars(seconds))
        if moment.prompt is not None and moment.prompt is not self._prompt:
            self._prompt = moment.prompt
            self._log("prompt", rerun.TextDocument(_clean(_prompt_text(moment.prompt))))
        self._add_goals(decision)
        if execution.planned_from is not None:
            self._add_view(decision, execution.planned_from)
            if execution.planned_from.navigation_map is not None:
                self._log("map/floor", _floor(execution.planned_from.navigation_map))
        if execution.memory is not None:
            views, objects = execution.memory.keyframes, execution.memory.objects
            self._add_points("map/remembered", [view.T_map_camera.translation for view in views], (), _VIEW)
            self._add_points(
                "map/objects", [each.position_m for each in objects], [each.name for each in objects], _OBJECT
            )

    def _add_goals(self, decision: Decision) -> None:
        placed = [
            (goal.place_m, f"{number} {subgoal.words}")
            for number, (subgoal, goal) in enumerate(
                zip(decision.subgoals, decision.goals, strict=False) if isinstance(decision, Execute) else (), 1
            )
            if goal.place_m is not None
        ]
        self._add_points("map/goals", [place for place, _ in placed], [label for _, label in placed], _GOAL)

    def _add_points(
        self, entity: str, places: Sequence[Any], labels: Sequence[str], colour: tuple[int, int, int]
    ) -> None:  # fmt: skip
        """Points on the map, which replace the earlier ones; none clear them."""
        if not places:
            self._log(entity, rerun.Clear(recursive=False))
            return
        points = np.array([[float(value) for value in place] for place in places])
        self._log(
            entity,
            rerun.Points3D(points, labels=[_clean(label) for label in labels] or None, colors=[colour], radii=0.05),
        )

    def _add_view(self, decision: Decision, seen: Observation) -> None:
        """The view that the plan's first point lies in (without points the first one), with the points in it."""
        executed = len(decision.subgoals) if isinstance(decision, Execute) else 0
        marks = {view: plan_marks(decision.plan, view, executed) for view in range(len(seen.views))}
        view = next((view for view, found in marks.items() if found), 0)
        frame = seen.views[view]
        self._log("plan/view", _image(frame.rgb))
        if not marks[view]:
            self._log("plan/points", rerun.Clear(recursive=False))
            return
        width, height = frame.intrinsics.width, frame.intrinsics.height
        points = [(mark.x * width, mark.y * height) for mark in marks[view]]
        colours = [_GOAL if mark.executed else _REFUSED for mark in marks[view]]
        labels = [_clean(mark.label) for mark in marks[view]]
        self._log("plan/points", rerun.Points2D(points, labels=labels, colors=colours, radii=width / 50))


def _layout(cameras: Sequence[str]) -> Any:
    """How the viewer arranges a recording at first."""
    return layout.Blueprint(
        layout.Horizontal(
            layout.Vertical(
                layout.Spatial3DView(origin="map", name="map"), layout.TextLogView(origin="log", name="decisions"),
                row_shares=[3, 1],
            ),
            layout.Vertical(
                layout.Spatial2DView(origin="plan", name="what the plan points at"),
                *(layout.Spatial2DView(origin=f"map/cameras/{name}", name=name) for name in cameras),
            ),
            layout.Vertical(
                layout.TextDocumentView(origin="prompt", name="prompt"),
                layout.TextDocumentView(origin="answer", name="answer"),
                layout.TimeSeriesView(origin="latency", name="latency, s"),
            ),
        ),
        collapse_panels=True,
    )  # fmt: skip


def _clean(text: str) -> str:
    """Text that can be encoded: a model may write half a character."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _transform(pose: Pose) -> Any:
    return rerun.Transform3D(translation=pose.translation, mat3x3=pose.rotation)


def _image(rgb: NDArray[np.uint8]) -> Any:
    return rerun.Image(np.ascontiguousarray(rgb)).compress(jpeg_quality=_QUALITY)


def _floor(grid: NavigationMap) -> Any:
    """The known floor as a rectangle with a texture, whose first row is at the lowest y."""
    known = np.isfinite(grid.path_length_m)
    texture = np.where(known[..., None], np.array(_FLOOR, np.uint8), np.uint8(0))
    x, y = grid.origin_m
    across, along = known.shape[1] * grid.resolution_m, known.shape[0] * grid.resolution_m
    corners = [(x, y, 0.0), (x + across, y, 0.0), (x + across, y + along, 0.0), (x, y + along, 0.0)]
    return rerun.Mesh3D(
        vertex_positions=corners,
        triangle_indices=[(0, 1, 2), (0, 2, 3)],
        vertex_texcoords=[(0, 0), (1, 0), (1, 1), (0, 1)],
        albedo_texture=texture,
    )


def _prompt_text(prompt: Prompt) -> str:
    """A prompt's text, with a mark in place of each image."""
    number, parts = 0, [f"[{prompt.version}]", prompt.system, ""]
    for part in prompt.content:
        number += not isinstance(part, str)
        parts.append(part if isinstance(part, str) else f"[image {number}]")
    return "\n".join(parts)
