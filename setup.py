"""What pyproject.toml cannot hold: ament_python's install rules, and fields that colcon or old setuptools read here."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "si_embodied"
ROOT = Path(__file__).parent


def share(folder: str, pattern: str) -> list[tuple[str, list[str]]]:
    """Install rules for the matching files of a folder, as paths relative to this file; empty without matches."""
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).glob(pattern) if path.is_file())
    return [(f"share/{PACKAGE}/{folder}", files)] if files else []


setup(
    name="si-embodied",
    version="0.1.0",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    # Follows the links si_embodied/envs, policies and ros_nodes, and installs no top-level package of those names.
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={
        PACKAGE: ["py.typed", "CITATION.cff"],
        f"{PACKAGE}.prompts": ["**/*.md"],
        f"{PACKAGE}.benchmarking.embodied": ["*.md", "*.json"],
        f"{PACKAGE}.evaluation.page": ["templates/*", "*.json"],
        f"{PACKAGE}.live": ["pages/*"],
        f"{PACKAGE}.models": ["nano/*"],
        f"{PACKAGE}.suites": ["shipped/*.yaml"],
    },
    entry_points={
        "console_scripts": [
            "si-embodied = si_embodied.cli.main:main",
            # Executables for `ros2 run` and `ros2 launch`.
            "planner_node = si_embodied.ros_nodes.planner_node:main",
            "recorder_node = si_embodied.ros_nodes.recorder_node:main",
            "sim_node = si_embodied.ros_nodes.sim_node:main",
            "watchdog_node = si_embodied.ros_nodes.watchdog_node:main",
        ],
        # lmms-eval finds our engine by this: `si-embodied benchmark spatial`.
        "lmms_eval.models": ["si_embodied = si_embodied.benchmarking.plugin:manifest"],
    },
    zip_safe=False,
    include_package_data=False,  # package_data says it all; else setuptools warns of every folder of prompts
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        *share("launch", "*.launch.py"),
        *share("config", "*"),
        *share("config/sros2", "*.xml"),
    ],
    # colcon test looks for pytest only here.
    extras_require={"test": ["pytest"]},
)
