"""habitat-lab loads with stand-ins only if habitat-sim is missing; without habitat-lab, the error names the extra."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from si_embodied.envs.habitat import lab
from si_embodied.envs.habitat.navigation import HabitatPointNavEnv
from si_embodied.errors import MissingExtraError

needs_habitat = pytest.mark.skipif(importlib.util.find_spec("habitat") is None, reason="habitat-lab is not installed")


def test_without_habitat_lab_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "habitat", raising=False)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *args: None if name == "habitat" else find(name, *args)
    )
    with pytest.raises(MissingExtraError, match=r"si-embodied\[habitat\]"):
        HabitatPointNavEnv()


@needs_habitat
def test_loading_prints_nothing() -> None:
    code = "from si_embodied.envs.habitat.lab import load_habitat; print(load_habitat().__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert (done.stdout, done.stderr) == ("habitat\n", "")


@needs_habitat
@pytest.mark.skipif(lab.has_habitat_sim(), reason="habitat-sim is installed here")
def test_stand_ins_are_nothing_but_what_importing_needs() -> None:
    lab.load_habitat()
    stand_ins = {name for name, module in sys.modules.items() if (module.__doc__ or "").startswith("Stands in where")}
    assert stand_ins == set(lab._STAND_INS)
