"""The wheel built from this source is complete when it is installed into a clean environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "install", "log", "runs", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)

# Imports every subpackage, and reports where the package comes from and which imports failed.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
import si_embodied
packages, failed = [], {}
for info in pkgutil.walk_packages(si_embodied.__path__, "si_embodied.", onerror=lambda name: None):
    if not info.ispkg:
        continue
    packages.append(info.name)
    try:
        importlib.import_module(info.name)
    except ImportError as error:
        failed[info.name] = f"{type(error).__name__}: {error}"
from si_embodied.prompts import prompt_versions
print(json.dumps({"file": si_embodied.__file__, "packages": packages, "failed": failed, "prompts": prompt_versions()}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the source without the leftovers of other builds."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=LEFT_OUT)
    # With this environment's setuptools, so that nothing is downloaded.
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(folder / "source")], check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel. It borrows all other packages from this one, so that nothing is downloaded."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False, symlinks=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", vars=paths))
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "install",
        "--quiet",
        "--no-deps",
    ]
    subprocess.run([*install, "--no-index", str(wheel)], check=True, capture_output=True, text=True)
    # A path in a .pth file is not searched for further .pth files, so this environment's development install stays out.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def run(program: Path, *arguments: str, folder: Path) -> str:
    """What a program of the new environment prints, without a source tree that PYTHONPATH may name."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(program), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def expected_packages() -> set[str]:
    package = ROOT / "si_embodied"
    folders = [package, *(package / name for name in ("envs", "policies", "ros_nodes"))]
    found = {
        path.parent for folder in folders for path in folder.rglob("__init__.py") if "__pycache__" not in path.parts
    }
    return {".".join(path.relative_to(ROOT).parts) for path in found}


def test_the_wheel_has_every_module_and_no_other_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name for name in names if name.startswith("si_embodied/") and name.endswith(".py")}
    package = ROOT / "si_embodied"
    folders = [package, *(package / name for name in ("envs", "policies", "ros_nodes"))]
    sources = {str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*.py")}
    assert inside == sources, "a folder without __init__.py is left out of the wheel"
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.startswith("si_embodied")} == set()


@pytest.mark.parametrize(
    "name",
    [
        "si_embodied/py.typed",
        "si_embodied/prompts/nav/v2.md",
        "si_embodied/prompts/manip/v2.md",
        "si_embodied/models/nano/model.safetensors",
        "si_embodied/models/nano/planner.yaml",
        "si_embodied/live/pages/watch.html",
        "si_embodied/live/pages/play.js",
    ],
)
def test_the_wheel_has_its_data(wheel: Path, name: str) -> None:
    assert name in zipfile.ZipFile(wheel).namelist()


def test_the_wheel_has_the_files_that_ros_looks_for(wheel: Path) -> None:
    names = {name.partition(".data/data/")[2] for name in zipfile.ZipFile(wheel).namelist()}
    assert {"share/ament_index/resource_index/packages/si_embodied", "share/si_embodied/package.xml"} <= names
    assert "share/si_embodied/config/sros2/policies.xml" in names


def test_the_wheel_names_its_license(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("dist-info/METADATA"))
    assert "License: Apache-2.0" in archive.read(metadata).decode()
    assert "Requires-Python: " in archive.read(metadata).decode()
    assert any(name.endswith("/LICENSE") for name in archive.namelist())


def test_every_subpackage_imports_from_the_installed_wheel(clean_python: Path, tmp_path: Path) -> None:
    found = json.loads(run(clean_python, "-c", IMPORT_ALL, folder=tmp_path))
    assert Path(found["file"]).is_relative_to(clean_python.parents[1]), "the test must run on the wheel"
    assert set(found["packages"]) == expected_packages() - {"si_embodied"}
    missing_ros = {name: why for name, why in found["failed"].items() if "ros" in name and "MissingExtraError" in why}
    assert found["failed"] == missing_ros
    assert {"nav/v2", "manip/v2"} <= set(found["prompts"])


def test_the_installed_command_runs(clean_python: Path, tmp_path: Path) -> None:
    assert run(clean_python.parent / "si-embodied", "--version", folder=tmp_path).startswith("si-embodied ")


def test_every_file_names_the_same_version() -> None:
    from si_embodied import __version__

    for name in ("package.xml", "interfaces/si_embodied_msgs/package.xml"):
        assert ET.parse(ROOT / name).getroot().findtext("version") == __version__, name
    assert f'version="{__version__}"' in (ROOT / "setup.py").read_text(encoding="utf-8")


def test_constraints_are_within_the_declared_ranges() -> None:
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            pins[pin.name.lower()] = next(iter(pin.specifier)).version
    for text in requires("si-embodied") or []:
        requirement = Requirement(text)
        version = pins.get(requirement.name.lower())
        assert version is None or version in requirement.specifier, f"constraints.txt pins {version}, but: {text}"
