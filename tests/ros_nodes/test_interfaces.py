"""What builds the ROS interfaces into a virtual environment, without building them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

BUILD = Path(__file__).parents[2] / "interfaces" / "build.py"


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, in an empty environment on a machine without tools."""
    spec = importlib.util.spec_from_file_location("interfaces_build", BUILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "interfaces_build", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "prefix", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    return module


def program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).touch(mode=0o755)
    return folder / name


def test_a_machine_without_cmake_gets_it_from_a_wheel(build: ModuleType, tmp_path: Path) -> None:
    assert build.build_tools() == [*build.BUILD_WHEELS, build.CMAKE_WHEEL]
    wheel = program(tmp_path / "bin", "cmake")
    assert build.cmake() == str(wheel)
    assert build.build_tools() == list(build.BUILD_WHEELS)


def test_a_compiler_is_found_under_its_usual_names(build: ModuleType, tmp_path: Path) -> None:
    assert build.compiler() is None
    there = program(tmp_path, "g++")
    assert build.compiler() == str(there)


def test_a_public_package_is_written_whole(build: ModuleType, tmp_path: Path) -> None:
    root = build.write_package(build.PUBLIC[0], tmp_path)
    package = ElementTree.parse(root / "package.xml").getroot()
    assert package.findtext("name") == "tf2_msgs"
    assert [each.text for each in package.findall("depend")] == ["geometry_msgs"]
    assert (root / "msg/TFMessage.msg").read_text() == "geometry_msgs/TransformStamped[] transforms\n"
    assert '"msg/TFMessage.msg" DEPENDENCIES geometry_msgs' in (root / "CMakeLists.txt").read_text()
