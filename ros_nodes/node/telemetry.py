"""The planner node's output for monitoring: plan, known objects, markers, status, diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from si_embodied_msgs.msg import Plan, PlannerStatus, SeenObjectArray
from visualization_msgs.msg import MarkerArray

from si_embodied.ros_nodes.node import messages
from si_embodied.ros_nodes.sensing.qos import LATCHED
from si_embodied.types import Code

if TYPE_CHECKING:
    from si_embodied.ros_nodes.node.node_view import NodeView
    from si_embodied.ros_nodes.node.runtime import PlannerRuntime
    from si_embodied.types import Decision, Observation, SeenObject


class Telemetry:
    """A decision listener. The action's feedback repeats the plan and the status published last."""

    def __init__(self, node: NodeView, runtime: PlannerRuntime) -> None:
        """Create the publishers, which are silent while the node is inactive."""
        self._node, self._runtime = node, runtime
        self.plan = Plan()  # the current task's last plan
        self.status: PlannerStatus | None = None  # the last one published
        self._plans = node.create_lifecycle_publisher(Plan, "~/plan", LATCHED)
        self._statuses = node.create_lifecycle_publisher(PlannerStatus, "~/status", LATCHED)
        self._markers = node.create_lifecycle_publisher(MarkerArray, "~/markers", 1)
        self._objects = node.create_lifecycle_publisher(SeenObjectArray, "~/objects", LATCHED)
        self._object_markers = node.create_lifecycle_publisher(MarkerArray, "~/object_markers", LATCHED)
        self._known: tuple[SeenObject, ...] | None = None  # the objects published last

    def begin(self) -> None:
        """Start a new task, without a plan."""
        self.plan = Plan()

    def on_decision(self, decision: Decision, observation: Observation | None) -> None:
        """Publish the plan and its RViz markers."""
        assert self._runtime.report is not None  # a decision belongs to a task
        self.plan = messages.plan_message(
            decision,
            observation,
            instruction=self._runtime.report.progress.task.instruction,
            sequence=self._runtime.report.progress.plans,
            frame=self._runtime.settings.map_frame,
            now_s=self._runtime.now_s(),
        )
        self._plans.publish(self.plan)
        self._markers.publish(messages.markers(self.plan))
        if self.plan.code:
            self._node.get_logger().warning(f"hold {decision.record.code.name}: {self.plan.message}")

    def tick(self) -> None:
        """Publish the known objects and the status when they change, and the status at least once a second."""
        self.publish_objects()
        self._publish_status()

    def publish_objects(self) -> None:
        """Publish the known objects and their markers, if they have changed."""
        known = self._runtime.known_objects
        if known == self._known:
            return
        frame, now_s = self._runtime.settings.map_frame, self._runtime.now_s()
        message = messages.objects_message(known, frame=frame, now_s=now_s)
        self._objects.publish(message)
        self._object_markers.publish(messages.object_markers(message))
        self._known = known

    def _publish_status(self) -> None:
        runner, report = self._runtime.runner, self._runtime.report
        state = PlannerStatus.STOPPED if self._node.stopped else int(runner.phase)
        status = messages.status_message(state, frame=self._runtime.settings.map_frame, now_s=self._runtime.now_s())
        status.emergency_stop = self._node.stopped
        status.code, status.message = self.plan.code, self.plan.message
        if report is not None:
            progress = report.progress
            status.instruction = progress.task.instruction if self._runtime.busy else ""
            status.plans, status.holds = progress.plans, progress.holds
            if progress.end is not None:
                status.code, status.message = int(progress.end.code), progress.end.message
            if progress.step is not None and progress.step.subgoal is not None:
                status.subgoal = messages.subgoal_message(progress.step.subgoal, progress.step.goal, None)
        if self.status is None or _key(self.status) != _key(status):
            self._statuses.publish(status)
            self.status = status

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._plans, self._statuses, self._markers, self._objects, self._object_markers):
            self._node.destroy_lifecycle_publisher(publisher)


def _key(status: PlannerStatus) -> tuple[int, ...]:
    """The values whose change triggers publishing. They include the second of the stamp."""
    return status.state, status.plans, status.code, status.header.stamp.sec


def diagnosis(node: NodeView, runtime: PlannerRuntime | None, plan: Plan) -> DiagnosticStatus:
    """The node's diagnostic status. `runtime` is None while the node is unconfigured; `plan` is the last one."""
    status = DiagnosticStatus(name=f"{node.get_fully_qualified_name()}: planner", hardware_id="si_embodied")
    values: dict[str, object] = {"active": node.active, "emergency_stop": node.stopped, "watchdog": node.watchdog}
    if runtime is None:
        status.level, status.message = DiagnosticStatus.WARN, "not configured"
    else:
        values |= {"model": runtime.info.model, "phase": runtime.runner.phase.name}
        for camera in runtime.sensors.cameras:
            values[f"images of {camera.name}"] = camera.received
            values[f"depth images of {camera.name}"] = camera.received_depths
        problem = runtime.sensors.problem()
        values["sensors"] = "ok" if problem is None else f"{problem.code.name}: {problem.message}"
        values |= {f"dropped: {source}": count for source, count in runtime.sensors.rejected.items()}
        values["last dropped"] = runtime.sensors.last_rejection
        values |= dict(zip(plan.latency_part, plan.latency_s, strict=True))
        code = Code(plan.code)
        status.level = DiagnosticStatus.OK if code is Code.OK else DiagnosticStatus.WARN
        status.message = "ready" if code is Code.OK else f"holding: {code.name}"
    values |= {f"refused from {source}": count for source, count in node.boundary.refused.items()}
    if node.boundary.last:
        values["last refusal"] = node.boundary.last
    if node.held:
        status.level, status.message = DiagnosticStatus.WARN, f"holding: {node.held}"
    if node.stopped:
        status.level, status.message = DiagnosticStatus.ERROR, "emergency stop"
    status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return status
