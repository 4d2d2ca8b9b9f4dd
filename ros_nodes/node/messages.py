"""Converts decisions, goals and states to si_embodied_msgs messages and RViz markers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

from geometry_msgs.msg import Point
from si_embodied_msgs.msg import Plan, PlannerStatus, SeenObject, SeenObjectArray, Subgoal
from visualization_msgs.msg import Marker, MarkerArray

from si_embodied.grounding import pixel_of
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.skills import PointedSubgoal
from si_embodied.types import Execute

if TYPE_CHECKING:
    from std_msgs.msg import Header

    from si_embodied.skills import Goal
    from si_embodied.skills import Subgoal as CoreSubgoal
    from si_embodied.types import Decision, Observation
    from si_embodied.types import SeenObject as CoreSeenObject


def plan_message(
    decision: Decision, observation: Observation | None, *, instruction: str, sequence: int, frame: str, now_s: float
) -> Plan:
    """Convert a decision and its observation, if the robot had one, to a Plan message.

    The observation has the remembered views that the plan could point at. `sequence` counts the task's decisions from
    1, `frame` is the map frame, `now_s` the ROS time of the decision.
    """
    record = decision.record
    message = Plan(
        sequence=sequence,
        instruction=instruction,
        done=decision.plan is not None and decision.plan.done,
        code=int(record.code),
        message=record.message,
        prompt_version=record.prompt_version,
        model=record.model,
        kernel=record.kernel,
        dtype=record.dtype,
        raw_text=list(record.raw_text),
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        latency_part=list(record.latency_s),
        latency_s=[float(value) for value in record.latency_s.values()],
    )
    message.header.frame_id = frame
    bridge.set_stamp(message.header.stamp, record.observation_stamp_s)
    bridge.set_stamp(message.decided, now_s)
    if isinstance(decision, Execute):
        goals = dict(enumerate(decision.goals))
        subgoals = decision.subgoals
    else:
        goals, subgoals = {}, decision.plan.subgoals if decision.plan is not None else ()
    message.subgoals = [subgoal_message(each, goals.get(i), observation) for i, each in enumerate(subgoals)]
    return message


def subgoal_message(subgoal: CoreSubgoal, goal: Goal | None, observation: Observation | None) -> Subgoal:
    """Convert a subgoal and, if it was grounded, its goal to a Subgoal message."""
    message = Subgoal(skill=subgoal.skill, object=str(getattr(subgoal, "object", "")))
    if isinstance(subgoal, PointedSubgoal) and observation is not None and subgoal.view < len(observation.views):
        frame = observation.views[subgoal.view]
        message.camera = frame.name
        message.remembered = subgoal.view >= len(observation.frames)
        bridge.set_stamp(message.image_stamp, frame.stamp_s)
        u, v = pixel_of(subgoal.point, frame.intrinsics.width, frame.intrinsics.height)
        message.pixel = [float(u), float(v)]
    if goal is not None:
        message.amount = float(goal.amount)
        if goal.place_m is not None:
            message.has_target = True
            bridge.set_point(message.target, goal.place_m)
        if goal.pose is not None:
            message.has_goal = True
            bridge.set_pose(message.goal, goal.pose)
    return message


def status_message(state: int, *, frame: str, now_s: float) -> PlannerStatus:
    """A PlannerStatus with state, frame and stamp; the caller fills in the rest."""
    message = PlannerStatus(state=state)
    message.header.frame_id = frame
    bridge.set_stamp(message.header.stamp, now_s)
    return message


def objects_message(objects: Iterable[CoreSeenObject], *, frame: str, now_s: float) -> SeenObjectArray:
    """Convert the known objects to a SeenObjectArray message; `frame` is the map frame."""
    message = SeenObjectArray(objects=[_object(seen) for seen in objects])
    message.header.frame_id = frame
    bridge.set_stamp(message.header.stamp, now_s)
    return message


def _object(seen: CoreSeenObject) -> SeenObject:
    probability = math.nan if seen.probability is None else seen.probability
    message = SeenObject(
        name=seen.name, probability=probability, sightings=seen.sightings, confirmed=seen.confirmed
    )  # fmt: skip
    bridge.set_point(message.position, seen.position_m)
    bridge.set_stamp(message.seen, seen.stamp_s)
    return message


# --- RViz markers ---------------------------------------------------------------------------------------------------


_Colour: TypeAlias = tuple[float, float, float, float]  # red, green, blue, opacity, 0 to 1
_TARGET: _Colour = (0.9, 0.2, 0.1, 0.9)
_GOAL: _Colour = (0.1, 0.5, 0.9, 0.9)
_CONFIRMED: _Colour = (0.2, 0.7, 0.3, 0.9)
_SEEN_ONCE: _Colour = (0.9, 0.7, 0.1, 0.6)
_WHITE: _Colour = (1.0, 1.0, 1.0, 1.0)


def markers(plan: Plan) -> MarkerArray:
    """The plan's targets with their names, and arrows at its goal poses. Deletes the previous markers."""
    array = MarkerArray(markers=[Marker(header=plan.header, action=Marker.DELETEALL)])
    for index, subgoal in enumerate(plan.subgoals):
        if subgoal.has_target:
            words = f"{index + 1}. {subgoal.skill} {subgoal.object}".strip()
            array.markers.append(_sphere(plan.header, "targets", index, subgoal.target, _TARGET))
            array.markers.append(_text(plan.header, "names", index, subgoal.target, words))
        if subgoal.has_goal:
            array.markers.append(_arrow(plan, index, subgoal))
    return array


def object_markers(known: SeenObjectArray) -> MarkerArray:
    """The known objects with their names, confirmed ones in green. Deletes the previous markers."""
    array = MarkerArray(markers=[Marker(header=known.header, action=Marker.DELETEALL)])
    for index, seen in enumerate(known.objects):
        colour = _CONFIRMED if seen.confirmed else _SEEN_ONCE
        array.markers.append(_sphere(known.header, "objects", index, seen.position, colour))
        array.markers.append(_text(known.header, "object_names", index, seen.position, seen.name))
    return array


def _marker(header: Header, namespace: str, index: int, kind: int, colour: _Colour) -> Marker:
    marker = Marker(header=header, ns=namespace, id=index, type=kind, action=Marker.ADD)
    marker.color.r, marker.color.g, marker.color.b, marker.color.a = colour
    marker.pose.orientation.w = 1.0
    return marker


def _sphere(header: Header, namespace: str, index: int, position: Point, colour: _Colour) -> Marker:
    marker = _marker(header, namespace, index, Marker.SPHERE, colour)
    marker.pose.position = position
    marker.scale.x = marker.scale.y = marker.scale.z = 0.12
    return marker


def _text(header: Header, namespace: str, index: int, below: Point, words: str) -> Marker:
    marker = _marker(header, namespace, index, Marker.TEXT_VIEW_FACING, _WHITE)
    marker.pose.position = Point(x=below.x, y=below.y, z=below.z + 0.2)
    marker.scale.z = 0.15
    marker.text = words
    return marker


def _arrow(plan: Plan, index: int, subgoal: Subgoal) -> Marker:
    marker = _marker(plan.header, "goals", index, Marker.ARROW, _GOAL)
    marker.pose = subgoal.goal
    marker.scale.x, marker.scale.y, marker.scale.z = 0.4, 0.06, 0.06
    return marker
