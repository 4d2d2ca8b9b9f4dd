from __future__ import annotations

import dataclasses
import importlib.util
import json

import pytest

from si_embodied import installation
from si_embodied.cli import doctor
from si_embodied.cli.main import main
from si_embodied.errors import BrokenPackageError
from si_embodied.ros_nodes.sensing import opencv


def test_json_says_what_is_installed_and_the_exit_code_what_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == (0 if row["can"]["eval"] else 1)
    assert row["extras"]["sim"]["mujoco"].startswith("3.10")
    assert row["renderer"] in ("egl", "osmesa", "wheel-osmesa", "rays")
    assert row["dtype"] == ("float32" if row["device"].startswith("cpu") else "bfloat16")


def test_the_table_names_the_renderer_and_the_device(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    shown = capsys.readouterr().out
    assert "renderer" in shown
    assert "worlds can" in shown


def test_a_missing_extra_is_named_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mujoco" else find(name))
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "pip install 'si-embodied[sim]' (missing: mujoco)" in shown
    assert "worlds cannot be run" in shown


def test_a_machine_that_renders_nothing_says_why() -> None:
    found = dataclasses.replace(installation.check(), renderer=None, renderer_reason="no GL", can={"eval": False})
    assert "nothing renders: no GL" in installation.advice(found)


def test_an_opencv_that_does_not_load_is_told_with_the_library_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2", reason="OpenCV comes with the extra bags")

    def fails() -> None:
        raise BrokenPackageError("opencv-python", ImportError("libGL.so.1: cannot open"), "apt install libgl1")

    monkeypatch.setattr(opencv, "import_opencv", fails)
    found = installation.check()
    assert not found.can["ros"]
    assert any("libGL.so.1" in line and "apt install libgl1" in line for line in installation.advice(found))


@pytest.mark.parametrize(("name", "code"), [("egl", 0), ("wheel-osmesa", 0), ("rays", 1), (None, 1)])
def test_has_opengl_is_what_make_asks(monkeypatch: pytest.MonkeyPatch, name: str | None, code: int) -> None:
    monkeypatch.setattr(doctor, "renderer", lambda: (name, ""))
    assert main(["doctor", "--has-opengl"]) == code
