"""Our engine as a model of lmms-eval. It is named in `plugin`, and imported in lmms-eval's process alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.benchmarking.answering import Answering, Engine, Question
from si_embodied.errors import ConfigError, extra
from si_embodied.runs import write_json

with extra("benchmark"):
    from lmms_eval.api.model import lmms
    from PIL import ImageFile

if TYPE_CHECKING:
    from si_embodied.backends.base import Backend

ENGINE_FILE = "engine.json"
_PACKAGES = ("lmms-eval", "datasets", "torch", "transformers", "pillow", "decord")


class EngineModel(lmms):  # type: ignore[misc]  # lmms-eval is not installed where types are checked
    """Answers greedily. `lmms-eval --model si_embodied --model_args settings=FILE` opens it."""

    is_simple = False

    def __init__(self, settings: str, batch_size: int | str = 1, **others: Any) -> None:
        """Open the model.

        Args:
            settings: file with an `Engine`.
            batch_size: how many questions a server is asked at once. A local model answers one after another, with the
                same answers.
            others: what lmms-eval gives every model, such as `device`; the settings say that already.

        Raises:
            ConfigError: the batch size is not a number of at least 1.
        """
        from si_embodied.backends.opening import open_backend

        super().__init__()
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise ConfigError(f"expected a batch size of at least 1, got: {batch_size!r}")
        engine = Engine.read(settings)
        at_once = int(batch_size) if engine.backend.kind == "server" else 1
        backends = [open_backend(engine.backend) for _ in range(at_once)]
        file = Path(engine.answers)
        write_json(file.with_name(ENGINE_FILE), _facts(backends[0]))
        self._answering = Answering(backends, engine.sight, file)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answer the requests, whose `args` are (text, doc_to_messages, generation settings, document, task, split).

        Raises:
            DataError: a question, or one of its pictures, is damaged.
            BackendError: the model failed.
        """
        # lmms-eval has it on: a picture that was cut short would be asked about, grey where it ends.
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        return self._answering.answer([self._question(request.args) for request in requests])

    def _question(self, args: tuple[Any, ...]) -> Question:
        _, doc_to_messages, generation, number, task, split = args
        documents = self.task_dict[task][split]
        return Question(task, number, partial(_messages, doc_to_messages, documents, number), generation)

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not supported.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("tasks of several rounds are not supported; choose a task that asks each question once")

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Not supported.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("tasks scored by likelihoods are not supported; choose a task whose model writes an answer")


def _messages(doc_to_messages: Any, documents: Any, number: int) -> Any:
    return doc_to_messages(documents[number])


def _facts(backend: Backend) -> dict[str, Any]:
    """What the answers depend on besides the questions."""
    from si_embodied.evaluation.report import versions

    info = {name: value for name, value in asdict(backend.info).items() if name in ("model", "kernel", "dtype")}
    return {**info, "versions": versions() | {name: version(name) for name in _PACKAGES}}
