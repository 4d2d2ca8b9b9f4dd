"""What each `Code` means, in a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from si_embodied.types import Code

MEANINGS: Mapping[Code, str] = MappingProxyType({
    Code.OK: "it worked",
    Code.NO_IMAGE: "there was no image to plan from",
    Code.STALE_OBSERVATION: "the newest image was too old",
    Code.NO_DEPTH: "there was no depth image",
    Code.NO_TRANSFORM: "the camera's or the robot's pose was unknown",
    Code.INSTRUCTION_TOO_LONG: "the instruction is longer than the limit",
    Code.BACKEND_FAILED: "the model or its server failed",
    Code.DEADLINE_EXCEEDED: "the model was not ready in time",
    Code.PLAN_INVALID: "the model's answers were not plans, or the robot cannot carry them out",
    Code.EMPTY_PLAN: "the plan has no subgoal and is not done",
    Code.INTERNAL_ERROR: "a bug; the log has the traceback",
    Code.UNSURE: "the model was too unsure of its decision, also after another look",
    Code.PROMPT_TOO_LONG: "the prompt exceeds the model's context, also without the memory",
    Code.DEPTH_INVALID: "there is no depth at the pixel that the plan points at",
    Code.DEPTH_AMBIGUOUS: "the pixel lies on an edge between two surfaces",
    Code.NO_STANDOFF: "there is nowhere to stand before the object",
    Code.NO_GRASP: "there is nothing to grasp at the pixel",
    Code.OUT_OF_WORKSPACE: "the goal lies outside the workspace",
    Code.OUT_OF_REACH: "the goal is out of the arm's reach",
    Code.TOO_FAR: "the goal is farther away than one plan may drive",
    Code.REPETITION: "the same few goals again and again",
    Code.NO_PROGRESS: "nothing works, or the model insists on repeating itself",
    Code.STALE_PLAN: "the plan was made from an image that is too old by now",
    Code.GOAL_INVALID: "the goal is beyond what this robot can do, or not a number",
    Code.OBSTRUCTED: "the way ahead is not known to be free",
    Code.OFF_MAP: "no path on the map leads there",
    Code.SKILL_FAILED: "the skill failed",
    Code.BLOCKED: "something was in the way",
    Code.UNREACHABLE: "the robot found no way to the goal",
    Code.GRASP_MISSED: "the gripper closed on nothing",
    Code.TIMED_OUT: "the skill took too long",
    Code.CANCELED: "it was cancelled",
    Code.EMERGENCY_STOP: "the emergency stop was pressed",
})  # fmt: skip
