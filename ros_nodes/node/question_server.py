"""The service `~/ask`: questions to the model about what the cameras show, or about pictures that come along."""

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
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.types import CameraFrame, Code, Refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.models.regions import Region
    from si_embodied.ros_nodes.node.node_view import NodeView
    from si_embodied.ros_nodes.node.questions import Asker
    from si_embodied.ros_nodes.node.runtime import PlannerRuntime

MOST_WAITING = 4
"""Questions that wait for the model; one more is refused."""

_Waiting: TypeAlias = "queue.Queue[Callable[[], None] | None]"


@dataclass(frozen=True, slots=True, eq=False)
class _Sight:
    """What a question is about."""

    images: tuple[NDArray[np.uint8], ...]
    frame: CameraFrame | None = None  # None for pictures that came along


class AskSpatialServer:
    """There for as long as its node: a service that is destroyed while an answer goes out takes the process with it.

    The model is asked in a thread of its own, and waits there for a plan that is being made.
    """

    def __init__(self, node: NodeView) -> None:
        """Serve; without a model every question is refused."""
        self._node = node
        self._runtime: PlannerRuntime | None = None
        self._asker: Asker | None = None
        self._waiting: _Waiting = queue.Queue(MOST_WAITING)
        self._futures: set[Future] = set()
        node.create_service(AskSpatial, "~/ask", self._on_question)

    def attach(self, runtime: PlannerRuntime) -> None:
        """Let the model of `runtime` answer."""
        self._runtime, self._waiting = runtime, queue.Queue(MOST_WAITING)
        self._asker = runtime.asker
        threading.Thread(target=_work, args=(self._waiting,), name="ask", daemon=True).start()

    def detach(self, message: str) -> None:
        """Answer whoever waits that there will be no answer; nobody is answered from now on."""
        for future in tuple(self._futures):
            future.set_result(_refused(Code.CANCELED, message))
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put(None)
        self._runtime = self._asker = None

    async def _on_question(self, request: Any, response: Any) -> Any:
        asker, waiting = self._asker, self._waiting
        sight = self._sight(request)
        if isinstance(sight, Refusal):
            return _refused(sight.code, sight.message)
        assert self._runtime is not None  # _sight has looked
        assert asker is not None
        settings = self._runtime.settings
        deadline_s = float(request.timeout_s) or settings.planner.deadline_s
        grounder, map_frame = Grounder(settings.embodiment, settings.planner.grounding), settings.map_frame
        future, executor = Future(), self._node.executor

        def answer() -> None:
            given = _answer(asker, request, sight, grounder, deadline_s)
            given.header.frame_id = map_frame if sight.frame is not None else ""
            executor.create_task(_settle, future, given)

        try:
            waiting.put_nowait(answer)
        except queue.Full:
            return _refused(Code.BACKEND_FAILED, f"{MOST_WAITING} questions are waiting for the model already")
        self._futures.add(future)
        try:
            return await future
        finally:
            self._futures.discard(future)

    def _sight(self, request: Any) -> _Sight | Refusal:
        """The images of a question, or why it is not put."""
        if self._runtime is None:
            return Refusal(Code.CANCELED, "the planner is not configured")
        if self._asker is None:
            return Refusal(Code.BACKEND_FAILED, f"the backend {self._runtime.settings.backend!r} answers no questions")
        if not self._node.active:
            return Refusal(Code.CANCELED, "the planner is not active")
        if not request.question.strip():
            return Refusal(Code.PLAN_INVALID, "the question is empty")
        if request.images:
            if request.region and len(request.images) > 1:
                words = f"a region is looked for in one image, got {len(request.images)}; ask about each"
                return Refusal(Code.NO_IMAGE, words)
            try:
                return _Sight(tuple(bridge.rgb_of(image) for image in request.images))
            except ObservationError as error:
                return Refusal(Code.NO_IMAGE, str(error))
        cameras = self._runtime.settings.cameras
        if request.camera and request.camera not in cameras:
            return Refusal(Code.NO_IMAGE, f"no camera {request.camera!r}; there are {', '.join(cameras)}")
        seen = self._runtime.sensors.observe()
        if isinstance(seen, Refusal):
            return seen
        frame = next(each for each in seen.frames if each.name == (request.camera or cameras[0]))
        return _Sight((frame.rgb,), frame)


def _work(waiting: _Waiting) -> None:
    """One question after the other, until there is a None."""
    while (answer := waiting.get()) is not None:
        answer()


def _answer(asker: Asker, request: Any, sight: _Sight, grounder: Grounder, deadline_s: float) -> Any:
    """The response; in the thread of the model."""
    response = AskSpatial.Response()
    try:
        if request.region:
            text, region = asker.locate(sight.images[0], request.question, deadline_s=deadline_s)
            response.answer = text
            _set_region(response, region, sight, grounder)
        else:
            response.answer = asker.ask(sight.images, request.question, deadline_s=deadline_s)
    except DeadlineExceeded as error:
        return _refused(Code.DEADLINE_EXCEEDED, str(error))
    except RegionParseError as error:
        return _refused(Code.PLAN_INVALID, str(error))
    except BackendError as error:
        return _refused(Code.BACKEND_FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - whatever the model raised, whoever asked gets an answer
        return _refused(Code.BACKEND_FAILED, f"{type(error).__name__}: {error}")
    if sight.frame is not None:
        bridge.set_stamp(response.header.stamp, sight.frame.stamp_s)
    return response


def _set_region(response: Any, region: Region, sight: _Sight, grounder: Grounder) -> None:
    """Write a region in pixels, and in metres where there is depth."""
    height, width = sight.images[0].shape[:2]
    response.has_point = True
    response.point = [float(value) for value in pixel_of(region.point, width, height)]
    if region.box is not None:
        left, top, right, bottom = region.box
        response.has_box = True
        corners = *pixel_of((left, top), width, height), *pixel_of((right, bottom), width, height)
        response.box = [float(value) for value in corners]
    if sight.frame is None:
        return
    position = grounder.point_in_map(sight.frame, region.point)
    if isinstance(position, Refusal):
        response.message = f"no position: {position.message}"
    else:
        response.has_position = True
        bridge.set_point(response.position, position)


def _settle(future: Future, response: Any) -> None:
    """In the executor's thread; the question may have been given up meanwhile."""
    if not future.done():
        future.set_result(response)


def _refused(code: Code, message: str) -> Any:
    return AskSpatial.Response(code=int(code), message=message)
