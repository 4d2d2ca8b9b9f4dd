"""The settings of `benchmark embodied`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from typing_extensions import Doc

from si_embodied.backends.config import BackendConfig
from si_embodied.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from si_embodied.benchmarking.embodied.subsets import Subsets
    from si_embodied.evaluation.config import EvaluationConfig

World: TypeAlias = Literal["si_embodied/Tabletop-v0", "si_embodied/HabitatRearrange-v0"]
Control: TypeAlias = Literal["blank", "oracle"]

_MOST_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class EmbodiedRun:
    """What to measure."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    env: Annotated[World, Doc("the world: Tabletop with EB-Manipulation's rules, or Rearrange with EB-Habitat's")] = (
        "si_embodied/Tabletop-v0"
    )
    oracle: Annotated[bool, Doc("answer from ground truth instead of a model: the best that the rules allow")] = False
    subset: Annotated[tuple[str, ...], Doc("subsets of the benchmark; default: all that the world has")] = ()
    prompt_file: Annotated[
        Path | None, Doc("rules to show instead of ours: a text, or EmbodiedBench's system_prompts.py")
    ] = None
    shots: Annotated[int | None, Doc("examples in the prompt, 0 for none; default: all of ours")] = None
    answers: Annotated[Literal["schema", "text"], Doc("bind answers to their JSON schema, or let them be any text")] = (
        "schema"
    )
    text_limit: Annotated[int, Doc("characters of each of an answer's three texts")] = 1000
    image_size: Annotated[int, Doc("pixels; EmbodiedBench's is 500")] = 500
    episodes: Annotated[int, Doc("of each subset, one per seed")] = 50
    seed: Annotated[int, Doc("of the first episode; each next episode has the next seed")] = 0
    out: Annotated[Path, Doc("folder for records and results, in it one per world")] = Path("runs/benchmarks/embodied")

    def __post_init__(self) -> None:
        """Check names and ranges."""
        for name in self.subset:
            if name not in self.subsets():
                raise UnknownNameError(f"subset of {self.env}", name, self.subsets())
        if self.text_limit < 1:
            raise ConfigError(f"expected text_limit to be at least 1, got: {self.text_limit}")
        if self.shots is not None and self.shots < 0:
            raise ConfigError(f"expected shots to be at least 0, got: {self.shots}")

    @property
    def folder(self) -> Path:
        """Where this world's records and results are."""
        return self.out / self.env.partition("/")[2].partition("-v")[0].lower()

    def subsets(self) -> Subsets:
        """The world's subsets, with their tasks."""
        from si_embodied.benchmarking.embodied.subsets import REARRANGE, TABLETOP

        return TABLETOP if self.env == "si_embodied/Tabletop-v0" else REARRANGE

    def evaluation(self, subset: str) -> EvaluationConfig:
        """The evaluation of one subset.

        Raises:
            ConfigError: the prompt file cannot be read.
        """
        from si_embodied.benchmarking.embodied.registration import ORACLE, POLICY, PROTOCOL_IDS
        from si_embodied.evaluation.config import EvaluationConfig

        return EvaluationConfig(
            PROTOCOL_IDS[self.env],
            ORACLE if self.oracle else POLICY,
            subset,
            None if self.oracle else _answering(self.backend, self.answers),
            image_size=self.image_size,
            episodes=self.episodes,
            seed=self.seed,
            policy_args=tuple(self._prompt().items()),
        )

    def _prompt(self) -> dict[str, Any]:
        """Arguments of `load_prompter`, and the digest of the prompt file, which a run depends on."""
        args: dict[str, Any] = {"shots": self.shots, "form": self.answers, "text_limit": self.text_limit}
        if self.prompt_file is not None:
            try:
                digest = hashlib.sha256(self.prompt_file.expanduser().read_bytes()).hexdigest()
            except OSError as error:
                raise ConfigError(f"cannot read the prompt file {str(self.prompt_file)!r}: {error.strerror}") from error
            args |= {"file": str(self.prompt_file), "file_sha256": digest}
        return args


def _answering(backend: BackendConfig, answers: str) -> BackendConfig:
    """The same model with room for the longest answer; a server is asked for JSON only where answers are bound."""
    if backend.kind != "server":
        return backend
    options = replace(backend.server, max_tokens=max(backend.server.max_tokens, _MOST_TOKENS))
    return replace(backend, server=options if answers == "schema" else replace(options, answer_format="none"))
