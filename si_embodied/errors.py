"""The one error tree. Every message says what was wrong, the value, and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class SiEmbodiedError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(SiEmbodiedError, ValueError):
    """A setting that cannot be honoured: unknown key, wrong type, out of range."""


class ObservationError(SiEmbodiedError, ValueError):
    """An observation that breaks its contract: shape, dtype, frame or unit."""


class TransformError(SiEmbodiedError, LookupError):
    """Where a frame was at some instant is not known."""


class UnknownNameError(SiEmbodiedError, LookupError):
    """A name that is not registered: an environment, a task, a policy, a prompt version."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        """Say what `kind` of thing `name` was meant to be and which of `known` it resembles."""
        names = sorted(known)
        close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}.")
        self.kind, self.name, self.known = kind, name, names


class MissingExtraError(SiEmbodiedError, ImportError):
    """An optional dependency is absent; the message names the extra that brings it."""

    def __init__(self, module: str, extra: str) -> None:
        """`module` failed to import and `si-embodied[extra]` brings it."""
        super().__init__(
            f"{module!r} is not installed, and this needs it. Install it with: pip install 'si-embodied[{extra}]'"
        )
        self.module, self.extra = module, extra


_DISTRIBUTIONS = {"PIL": "pillow", "cv2": "opencv-python", "yaml": "pyyaml"}  # where they differ from the module


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Name the extra that is missing when an import inside fails.

    >>> with extra("sim"):
    ...     import mujoco

    Raises:
        MissingExtraError: a module imported inside is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = str(error.name).partition(".")[0]
        raise MissingExtraError(_DISTRIBUTIONS.get(module, module), name) from error


class BrokenPackageError(SiEmbodiedError, ImportError):
    """An installed package cannot be imported, for want of a system library for example; the message says the fix."""

    def __init__(self, module: str, error: ImportError, fix: str) -> None:
        """`module` failed to import with `error`; `fix` is a command."""
        super().__init__(f"{module!r} is installed but cannot be imported: {error}. Fix it with: {fix}")
        self.module, self.fix = module, fix


class MissingRosPackageError(SiEmbodiedError, ImportError):
    """A ROS package is absent that comes with ROS and not from PyPI; the message names it."""

    def __init__(self, module: str) -> None:
        """`module`, of the ROS package of that name, failed to import."""
        package = module.partition(".")[0]
        super().__init__(
            f"the ROS package {package!r} is not installed, and this needs it. Install it with: "
            f"apt install ros-$ROS_DISTRO-{package.replace('_', '-')}"
        )
        self.package = package


class PlanParseError(SiEmbodiedError, ValueError):
    """The model's answer is not a plan of the closed schema."""

    def __init__(self, offence: str, text: str) -> None:
        """`offence` says what is wrong, in words a repair prompt can quote; `text` is the answer."""
        shown = text if len(text) <= 120 else f"{text[:120]}… ({len(text)} characters)"
        super().__init__(f"not a plan: {offence}. The answer was: {shown!r}")
        self.offence, self.text = offence, text


class RegionParseError(SiEmbodiedError, ValueError):
    """The model's answer to where something is names no single box or point in the image."""

    def __init__(self, offence: str, text: str) -> None:
        """`offence` says what is wrong; `text` is the answer."""
        shown = text if len(text) <= 120 else f"{text[:120]}… ({len(text)} characters)"
        super().__init__(f"not a region: {offence}. The answer was: {shown!r}")
        self.offence, self.text = offence, text


class CheckpointError(SiEmbodiedError, ValueError):
    """A model directory that is missing, incomplete, corrupted, or of a family this package does not run."""


class BackendError(SiEmbodiedError, RuntimeError):
    """A backend could not complete a prompt."""


class DeadlineExceeded(BackendError, TimeoutError):
    """A backend was not done by its deadline; nothing partial is returned."""


class MessageError(SiEmbodiedError, ValueError):
    """A message between two machines or processes that is not of the agreed form."""


class RequestRefused(SiEmbodiedError, RuntimeError):
    """A planning server did not take a request, or dropped it."""

    def __init__(self, reason: str, message: str, *, retry_after_s: float | None = None) -> None:
        """`reason` is one of the stable names of `si_embodied.serving.messages.REASONS`."""
        super().__init__(message)
        self.reason, self.retry_after_s = reason, retry_after_s


class RendererError(SiEmbodiedError, RuntimeError):
    """No way to render was found, or rendering failed."""


class RecordError(SiEmbodiedError, OSError):
    """A record or a video could not be written (full disk, no permission)."""


class DataError(SiEmbodiedError, ValueError):
    """A data set that is missing, incomplete or not of the form it should have; the message gives file and line."""


class SimulatorError(SiEmbodiedError, RuntimeError):
    """An environment in another Python raised an exception; the cause is its traceback."""

    def __init__(self, message: str, exception: str = "") -> None:
        """`exception` is the name of its type there."""
        super().__init__(message)
        self.exception = exception


class SimulatorLost(SimulatorError):
    """The process of an environment crashed, or did not answer in time: its episode cannot be gone on with."""


class SceneError(SiEmbodiedError, RuntimeError):
    """No scene could be drawn that fits the request."""


class EvaluationError(SiEmbodiedError, RuntimeError):
    """An episode could not be run; what was recorded before it is kept."""
