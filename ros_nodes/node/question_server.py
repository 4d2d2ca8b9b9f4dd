"""The service `~/ask`: asks the model about the cameras' images, or about images in the request."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from rclpy.task import Future
from si_embodied_msgs.srv import AskSpatial

from si_embodied.errors import BackendError, DeadlineExceeded, ObservationError, RegionParseError
from si_embodied.grounding import Grounder, pixel_of
from si_embodied.ros_nodes.node.timeouts import timeout_refusal
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.types import CameraFrame, Code, Refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.backends.questions import Asker
    from si_embodied.models.regions import Region
    from si_embodied.ros_nodes.node.node_view import NodeView
    from si_embodied.ros_nodes.node.runtime import PlannerRuntime

MOST_WAITING = 4
"""Longest queue of questions; one more is refused."""

_Queue: TypeAlias = "queue.Queue[Callable[[], None] | None]"


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """The images a question is about."""

    images: tuple[NDArray[np.uint8], ...]  # each (H, W, 3)
    frame: CameraFrame | None = None  # None for images from the request


class AskSpatialServer:
    """Lives as long as its node: destroying a service while it sends a response crashes the process.

    Questions run in a separate thread. There they wait while the model is busy with a plan.
    """

    def __init__(self, node: NodeView) -> None:
        """Create the service. Until `attach` is called, it refuses every question."""
        self._node = node
        self._runtime: PlannerRuntime | None = None
        self._asker: Asker | None = None
        self._waiting: _Queue = queue.Queue(MOST_WAITING)
        self._futures: set[Future] = set()
        node.create_service(AskSpatial, "~/ask", self._on_question)

    def attach(self, runtime: PlannerRuntime) -> None:
        """Answer with the model of `runtime`."""
        self._runtime, self._waiting = runtime, queue.Queue(MOST_WAITING)
        self._asker = runtime.asker
        threading.Thread(target=_work, args=(self._waiting,), name="ask", daemon=True).start()

    def detach(self, message: str) -> None:
        """Refuse all waiting questions, and every later one until `attach` is called again."""
        for future in tuple(self._futures):
            future.set_result(_refused(Code.CANCELED, message))
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put(None)
        self._runtime = self._asker = None

    async def _on_question(self, request: Any, response: Any) -> Any:
        asker, waiting = self._asker, self._waiting
        subject = self._subject(request)
        if isinstance(subject, Refusal):
            return _refused(subject.code, subject.message)
        assert self._runtime is not None  # _subject has checked
        assert asker is not None
        settings = self._runtime.settings
        longest_s = settings.planner.deadline_s
        refused = timeout_refusal(request.timeout_s, longest_s, "planner.deadline_s")
        if refused:
            return _refused(Code.PLAN_INVALID, refused)
        deadline_s = min(float(request.timeout_s) or longest_s, longest_s)
        grounder, map_frame = Grounder(settings.embodiment, settings.planner.grounding), settings.map_frame
        future, executor = Future(), self._node.executor

        def answer() -> None:
            answered = _answer(asker, request, subject, grounder, deadline_s)
            answered.header.frame_id = map_frame if subject.frame is not None else ""
            executor.create_task(_complete, future, answered)

        try:
            waiting.put_nowait(answer)
        except queue.Full:
            return _refused(Code.BACKEND_FAILED, f"{MOST_WAITING} questions are already waiting; ask again later")
        self._futures.add(future)
        try:
            return await future
        finally:
            self._futures.discard(future)

    def _subject(self, request: Any) -> _Subject | Refusal:
        """The images of a question, or why the question is refused."""
        if self._runtime is None:
            return Refusal(Code.CANCELED, "the planner is not configured")
        if self._asker is None:
            backend = self._runtime.settings.backend
            return Refusal(Code.BACKEND_FAILED, f"the backend {backend!r} cannot answer questions")
        if not self._node.active:
            return Refusal(Code.CANCELED, "the planner is not active")
        if not request.question.strip():
            return Refusal(Code.PLAN_INVALID, "the question is empty")
        length, limit = len(request.question), self._runtime.settings.planner.guard.max_instruction_characters
        if length > limit:
            return Refusal(Code.INSTRUCTION_TOO_LONG, f"the question has {length} characters, more than {limit}")
        if request.images:
            return _request_images(request)
        cameras = self._runtime.settings.cameras
        if request.camera and request.camera not in cameras:
            return Refusal(Code.NO_IMAGE, f"no camera {request.camera!r}; the cameras are {', '.join(cameras)}")
        observation = self._runtime.sensors.observe()
        if isinstance(observation, Refusal):
            return observation
        frame = next(each for each in observation.frames if each.name == (request.camera or cameras[0]))
        return _Subject((frame.rgb,), frame)


def _request_images(request: Any) -> _Subject | Refusal:
    if request.region and len(request.images) > 1:
        count = len(request.images)
        return Refusal(Code.NO_IMAGE, f"a region is located in one image, got {count} images; ask about each")
    try:
        return _Subject(tuple(bridge.rgb_of(image) for image in request.images))
    except ObservationError as error:
        return Refusal(Code.NO_IMAGE, str(error))


def _work(waiting: _Queue) -> None:
    """Answer one question after another, until a None arrives."""
    while (answer := waiting.get()) is not None:
        answer()


def _answer(asker: Asker, request: Any, subject: _Subject, grounder: Grounder, deadline_s: float) -> Any:
    """Ask the model and build the response. Runs in the question thread."""
    response = AskSpatial.Response()
    try:
        if request.region:
            text, region = asker.locate(subject.images[0], request.question, deadline_s=deadline_s)
            response.answer = text
            _set_region(response, region, subject, grounder)
        else:
            response.answer = asker.ask(subject.images, request.question, deadline_s=deadline_s)
    except DeadlineExceeded as error:
        return _refused(Code.DEADLINE_EXCEEDED, str(error))
    except RegionParseError as error:
        return _refused(Code.PLAN_INVALID, str(error))
    except BackendError as error:
        return _refused(Code.BACKEND_FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - whatever the model raises, the client gets a response
        return _refused(Code.BACKEND_FAILED, f"{type(error).__name__}: {error}")
    if subject.frame is not None:
        bridge.set_stamp(response.header.stamp, subject.frame.stamp_s)
    return response


def _set_region(response: Any, region: Region, subject: _Subject, grounder: Grounder) -> None:
    """Fill in the region in pixels and, for a camera image with depth, its position in the map."""
    height, width = subject.images[0].shape[:2]
    response.has_point = True
    response.point = [float(value) for value in pixel_of(region.point, width, height)]
    if region.box is not None:
        left, top, right, bottom = region.box
        response.has_box = True
        corners = *pixel_of((left, top), width, height), *pixel_of((right, bottom), width, height)
        response.box = [float(value) for value in corners]
    if subject.frame is None:
        return
    position = grounder.point_in_map(subject.frame, region.point)
    if isinstance(position, Refusal):
        response.message = f"no position: {position.message}"
    else:
        response.has_position = True
        bridge.set_point(response.position, position)


def _complete(future: Future, response: Any) -> None:
    """Complete the future in the executor's thread, unless `detach` already has."""
    if not future.done():
        future.set_result(response)


def _refused(code: Code, message: str) -> Any:
    return AskSpatial.Response(code=int(code), message=message)
