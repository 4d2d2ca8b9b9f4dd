"""habitat-lab, importable with or without habitat-sim."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import types
from typing import Any

from si_embodied.errors import ConfigError, MissingExtraError

_EXTRA = "habitat"
# Names that `import habitat` takes from modules that need habitat-sim and magnum; navigation uses none of them.
_STAND_INS: dict[str, tuple[str, ...]] = {
    "habitat.sims.habitat_simulator.object_state_machine": ("ObjectStateMachine",),
    "habitat.core.batch_rendering.env_batch_renderer": ("EnvBatchRenderer",),
    "habitat.tasks.rearrange": ("_try_register_rearrange_task",),
    "habitat.tasks.rearrange.rearrange_sim": ("add_perf_timing_func",),
}


def has_habitat_sim() -> bool:
    """Whether Habitat's own simulator is installed in this Python."""
    return importlib.util.find_spec("habitat_sim") is not None


def load_habitat() -> Any:
    """The module `habitat`. Call this before any `from habitat… import`.

    Raises:
        MissingExtraError: habitat-lab is not installed.
    """
    if "habitat" in sys.modules:
        return sys.modules["habitat"]
    if importlib.util.find_spec("habitat") is None:
        raise MissingExtraError("habitat", _EXTRA)
    if not has_habitat_sim():
        for name, attributes in _STAND_INS.items():
            sys.modules.setdefault(name, _stand_in(name, attributes))
    _hush_gym()
    habitat = importlib.import_module("habitat")
    if "HABITAT_LAB_LOG" not in os.environ:  # it logs every task and simulator that it creates
        habitat.logger.setLevel(logging.WARNING)
    return habitat


def load_real(module: str) -> Any:
    """Import one of this package's modules that need habitat-sim: "real" or "real_rearrange".

    Raises:
        ConfigError: habitat-sim is not installed in this Python.
    """
    if not has_habitat_sim():
        raise ConfigError(
            "habitat-sim is not installed in this Python, and has no wheel on PyPI. Install it into a conda "
            "environment (`conda install habitat-sim withbullet headless -c conda-forge -c aihabitat`), run there, "
            'or give that environment\'s interpreter as python=…; simulator="embedded" does not need it'
        )
    return importlib.import_module(f"{__package__}.{module}")


def _stand_in(name: str, attributes: tuple[str, ...]) -> types.ModuleType:
    module = types.ModuleType(name, "Stands in where habitat-sim is not installed.")
    module.__path__ = []
    for attribute in attributes:
        setattr(module, attribute, _nothing)
    return module


def _nothing(*_: Any, **__: Any) -> Any:
    """A stand-in function, which does nothing; used as a decorator with arguments, it returns the decorated object."""
    return lambda decorated: decorated


def _hush_gym() -> None:
    """Keep the old gym, which habitat-lab requires, from printing that it is unmaintained."""
    try:
        notices = importlib.import_module("gym_notices.notices").notices
    except ImportError:
        return
    notices.clear()
