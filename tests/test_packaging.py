"""The wheel that is built here, installed into a clean environment, is whole."""

from __future__ import annotations

import json
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

# Imports every module under one package and says which could not be, and where from.
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
    """Built from a copy of the sources without what other builds have left there."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=LEFT_OUT)
    # The setuptools of this environment: nothing is downloaded.
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(folder / "source")], check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel and, of the rest of the world, what this one has: nothing is downloaded."""
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
    # A path of this environment's packages, without the development install's own .pth files being read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def expected_packages() -> set[str]:
    package = ROOT / "si_embodied"
    folders = [package, *(package / name for name in ("envs", "policies", "ros_nodes"))]
    found = {
        path.parent for folder in folders for path in folder.rglob("__init__.py") if "__pycache__" not in path.parts
    }
    return {".".join(path.relative_to(ROOT).parts) for path in found}


def test_the_wheel_has_every_module_and_nothing_beside_the_package(wheel: Path) -> None:
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
        "si_embodied/prompts/nav/v1.md",
        "si_embodied/prompts/manip/v1.md",
        "si_embodied/models/nano/model.safetensors",
        "si_embodied/models/nano/planner.yaml",
    ],
)
def test_the_wheel_has_its_data(wheel: Path, name: str) -> None:
    assert name in zipfile.ZipFile(wheel).namelist()


def test_the_wheel_has_what_ros_looks_for(wheel: Path) -> None:
    names = {name.partition(".data/data/")[2] for name in zipfile.ZipFile(wheel).namelist()}
    assert {"share/ament_index/resource_index/packages/si_embodied", "share/si_embodied/package.xml"} <= names


def test_the_wheel_names_its_licence(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("dist-info/METADATA"))
    assert "License: Apache-2.0" in archive.read(metadata).decode()
    assert "Requires-Python: " in archive.read(metadata).decode()
    assert any(name.endswith("/LICENSE") for name in archive.namelist())


def test_every_subpackage_imports_from_the_installed_wheel(clean_python: Path, tmp_path: Path) -> None:
    done = subprocess.run([clean_python, "-c", IMPORT_ALL], cwd=tmp_path, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert Path(found["file"]).is_relative_to(clean_python.parents[1]), "the wheel itself must be under test"
    assert set(found["packages"]) == expected_packages() - {"si_embodied"}
    missing_ros = {name: why for name, why in found["failed"].items() if "ros" in name and "MissingExtraError" in why}
    assert found["failed"] == missing_ros
    assert {"nav/v1", "manip/v1"} <= set(found["prompts"])


def test_the_installed_command_runs(clean_python: Path, tmp_path: Path) -> None:
    command = clean_python.parent / "si-embodied"
    done = subprocess.run([command, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("si-embodied ")


def test_every_file_names_the_same_version() -> None:
    from si_embodied import __version__

    package = ET.parse(ROOT / "package.xml").getroot()
    assert package.findtext("version") == __version__
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
