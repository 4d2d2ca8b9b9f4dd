"""Publishes every decision with its inputs, so that a recording can be replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rclpy.qos import QoSProfile
from std_msgs.msg import String

from si_embodied.ros_nodes.recording.decision_records import (
    CameraTopics,
    DecisionRecord,
    RememberedView,
    views_of,
)

if TYPE_CHECKING:
    from si_embodied.ros_nodes.node.node_view import NodeView
    from si_embodied.ros_nodes.node.runtime import PlannerRuntime
    from si_embodied.types import Decision, Observation


class RecordPublisher:
    """A decision listener: publishes one line of JSON per decision on `~/record`."""

    def __init__(self, node: NodeView, runtime: PlannerRuntime) -> None:
        """Create the publisher."""
        self._node, self._runtime = node, runtime
        self._records = node.create_lifecycle_publisher(String, "~/record", QoSProfile(depth=50))
        self._topics = {
            camera.name: CameraTopics(*(each.topic_name for each in camera.subscriptions))
            for camera in runtime.sensors.cameras
        }

    def on_decision(self, decision: Decision, observation: Observation | None) -> None:
        """Publish the decision, if there are subscribers."""
        if self._records.get_subscription_count():
            self._records.publish(String(data=self._record(decision, observation).to_json()))

    def tick(self) -> None:
        """Does nothing: records are published with their decisions."""

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._records)

    def _record(self, decision: Decision, observation: Observation | None) -> DecisionRecord:
        runtime, inputs = self._runtime, self._runtime.plan_inputs
        assert runtime.report is not None  # a decision belongs to a task
        task, decided_s = runtime.report.progress.task, runtime.now_s()
        if observation is None or inputs is None:
            return DecisionRecord(task, decision, decided_s, runtime.settings, self._topics, None)
        return DecisionRecord(
            task=task,
            decision=decision,
            decided_s=decided_s,
            settings=runtime.settings,
            topics=self._topics,
            views=views_of(observation),
            asked_s=inputs.now_s,
            memory=inputs.memory,
            remembered=tuple(RememberedView(view.name, view.stamp_s) for view in observation.keyframes),
            arm=observation.arm,
            unmapped=tuple(views_of(each) for each in inputs.unmapped),
            fresh=inputs.fresh,
        )
