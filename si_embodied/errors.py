"""The package's exceptions. Every message says what was wrong, the value, and the fix."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def shown(value: object) -> str:
    """A value from outside for an error message: cut short, however long or deeply nested it is."""
    text = f"{len(value)} bytes" if isinstance(value, bytes) else _SHORT.repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


class SiEmbodiedError(Exception):
    """Base class of every error this package raises on purpose."""


class ConfigError(SiEmbodiedError, ValueError):
    """An invalid setting: unknown key, wrong type, or out of range."""


class SchemaError(ConfigError):
    """A JSON schema that an answer cannot be bound to."""


class ObservationError(SiEmbodiedError, ValueError):
    """An observation with a wrong shape, dtype, frame or unit."""


class TransformError(SiEmbodiedError, LookupError):
    """No transform to a frame is available at the requested time."""


class UnknownNameError(SiEmbodiedError, LookupError):
    """An unregistered name of an environment, task, policy, prompt version or the like."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        """`kind` says what `name` refers to ("prompt version"). The message suggests the closest of `known`."""
        names = sorted(known)
        close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}.")
        self.kind, self.name, self.known = kind, name, names


class MissingExtraError(SiEmbodiedError, ImportError):
    """An optional dependency is not installed. The message names the extra that installs it."""

    def __init__(self, module: str, extra: str) -> None:
        """`module` failed to import; `si-embodied[extra]` installs it."""
        super().__init__(f"{module!r} is not installed; run: pip install 'si-embodied[{extra}]'")
        self.module, self.extra = module, extra


_DISTRIBUTIONS = {"PIL": "pillow", "cv2": "opencv-python", "yaml": "pyyaml"}
"""Distribution names that differ from the module's."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Turn a failed import in the block into an error that names the missing extra.

    >>> with extra("sim"):
    ...     import mujoco

    Raises:
        MissingExtraError: a module imported in the block is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = str(error.name).partition(".")[0]
        raise MissingExtraError(_DISTRIBUTIONS.get(module, module), name) from error


class BrokenPackageError(SiEmbodiedError, ImportError):
    """An installed package fails to import, for example because a system library is missing."""

    def __init__(self, module: str, error: ImportError, fix: str) -> None:
        """`module` failed to import with `error`; `fix` is a shell command."""
        super().__init__(f"{module!r} is installed but cannot be imported: {error}. Fix it with: {fix}")
        self.module, self.fix = module, fix


class MissingRosPackageError(SiEmbodiedError, ImportError):
    """A ROS package that is not on PyPI is not installed. The message names its apt package."""

    def __init__(self, module: str) -> None:
        """`module` failed to import; it belongs to the ROS package of the same name."""
        package = module.partition(".")[0]
        super().__init__(
            f"the ROS package {package!r} is not installed; run: "
            f"apt install ros-$ROS_DISTRO-{package.replace('_', '-')}"
        )
        self.package = package


class PlanParseError(SiEmbodiedError, ValueError):
    """The model's answer does not fit the plan schema."""

    def __init__(self, offence: str, text: str) -> None:
        """`offence` says what is wrong, in words that the repair prompt can quote; `text` is the answer."""
        shown = text if len(text) <= 120 else f"{text[:120]}… ({len(text)} characters)"
        super().__init__(f"not a plan: {offence}. The answer was: {shown!r}")
        self.offence, self.text = offence, text


class RegionParseError(SiEmbodiedError, ValueError):
    """The model was asked where an object is, and its answer is not a single box or point in the image."""

    def __init__(self, offence: str, text: str) -> None:
        """`offence` says what is wrong; `text` is the answer."""
        shown = text if len(text) <= 120 else f"{text[:120]}… ({len(text)} characters)"
        super().__init__(f"not a region: {offence}. The answer was: {shown!r}")
        self.offence, self.text = offence, text


class CheckpointError(SiEmbodiedError, ValueError):
    """A model directory that is missing, incomplete, corrupted, or of an unsupported family."""


class BackendError(SiEmbodiedError, RuntimeError):
    """A backend could not complete a prompt."""


class AnswerCutOff(BackendError):
    """The model did not end its answer within the limit of tokens."""


class PromptTooLong(BackendError):
    """A prompt and its answer exceed the model's context. Nothing was computed."""


class GrammarError(BackendError):
    """No text, or none that the grammar's engine can find, continues an answer so that it fits its schema."""


class DeadlineExceeded(BackendError, TimeoutError):
    """A backend missed its deadline. A partial answer is never returned."""


class MessageError(SiEmbodiedError, ValueError):
    """A malformed message between two machines or processes."""


class RequestRefused(SiEmbodiedError, RuntimeError):
    """A planning server rejected or dropped a request."""

    def __init__(self, reason: str, message: str, *, retry_after_s: float | None = None) -> None:
        """`reason` is one of the stable names in `si_embodied.serving.messages.REASONS`."""
        super().__init__(message)
        self.reason, self.retry_after_s = reason, retry_after_s


class RendererError(SiEmbodiedError, RuntimeError):
    """No working renderer was found, or rendering failed."""


class RecordError(SiEmbodiedError, OSError):
    """A record or a video could not be written (disk full, no permission)."""


class DataError(SiEmbodiedError, ValueError):
    """A data set that is missing, incomplete or malformed. The message gives file and line."""


class SimulatorError(SiEmbodiedError, RuntimeError):
    """An environment in another Python process raised an exception, whose traceback is the cause of this one."""

    def __init__(self, message: str, exception: str = "") -> None:
        """`exception` is the type name of the exception in the other process."""
        super().__init__(message)
        self.exception = exception


class SimulatorLost(SimulatorError):
    """An environment's process crashed or timed out, so its episode cannot continue."""


class SceneError(SiEmbodiedError, RuntimeError):
    """Scene generation found no scene that meets the request."""


class EvaluationError(SiEmbodiedError, RuntimeError):
    """An episode could not be run. Earlier episodes' records are kept."""
