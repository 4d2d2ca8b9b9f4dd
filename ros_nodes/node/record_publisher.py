"""Publishes every decision with what it rests on: what a recording needs to be replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rclpy.qos import QoSProfile
from std_msgs.msg import String

from si_embodied.ros_nodes.recording.decision_records import CameraTopics, DecisionRecord, views_of

if TYPE_CHECKING:
    from si_embodied.ros_nodes.node.node_view import NodeView
    from si_embodied.ros_nodes.node.runtime import PlannerRuntime
    from si_embodied.types import Decision, Observation


class RecordPublisher:
    """A part of the node: `~/record`, a line of JSON for each decision."""

    def __init__(self, node: NodeView, runtime: PlannerRuntime) -> None:
        """Make the publisher."""
        self._node, self._runtime = node, runtime
        self._records = node.create_lifecycle_publisher(String, "~/record", QoSProfile(depth=50))
        self._topics = {
            camera.name: CameraTopics(*(each.topic_name for each in camera.subscriptions))
            for camera in runtime.sensors.cameras
        }

    def on_decision(self, decision: Decision, observation: Observation | None) -> None:
        """Publish it, if anyone listens."""
        if self._records.get_subscription_count():
            self._records.publish(String(data=self._record(decision, observation).to_json()))

    def tick(self) -> None:
        """Nothing: a record goes out with its decision."""

    def close(self) -> None:
        """Publish no more."""
        self._node.destroy_lifecycle_publisher(self._records)

    def _record(self, decision: Decision, observation: Observation | None) -> DecisionRecord:
        runtime, asked = self._runtime, self._runtime.asked
        assert runtime.report is not None  # of the task that the decision is for
        task, decided_s = runtime.report.progress.task, runtime.now_s()
        if observation is None or asked is None:
            return DecisionRecord(task, decision, decided_s, runtime.settings, self._topics, None)
        return DecisionRecord(
            task=task,
            decision=decision,
            decided_s=decided_s,
            settings=runtime.settings,
            topics=self._topics,
            views=views_of(observation),
            asked_s=asked.now_s,
            memory=asked.memory,
            arm=observation.arm,
            keyframes=tuple(views_of(each) for each in asked.keyframes),
            fresh=asked.fresh,
        )
