"""The parameter files in `config/` that list every parameter with its default, written from the settings dataclasses.

`python -m si_embodied.ros_nodes.node.parameter_files` rewrites them; it keeps the text above the parameters.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import yaml

from si_embodied.config import Setting, settings_of
from si_embodied.ros_nodes.node.bringup import config_file

_WIDTH = 100


def rewritten(text: str, cls: type[Any]) -> str:
    """A parameter file's text with each parameter, its default and its description as `cls` has them."""
    head, start, parameters = text.partition("  ros__parameters:\n")
    lines = [line for line in parameters.splitlines() if line.strip().startswith("use_sim_time:")]  # rclpy's own
    groups: list[str] = []
    for setting in settings_of(cls):
        *path, leaf = setting.name.split(".")
        for depth, group in enumerate(path):
            if groups[: depth + 1] != path[: depth + 1]:
                groups = path[: depth + 1]
                lines.append(f"{'  ' * (depth + 2)}{group}:")
        groups = path
        lines += _entry(leaf, setting, "  " * (len(path) + 2))
    return head + start + "\n".join(lines) + "\n"


def _entry(leaf: str, setting: Setting, indent: str) -> list[str]:
    note = f"  # {setting.description}" if setting.description else ""
    plain = list(setting.default) if isinstance(setting.default, tuple) else setting.default
    value = '""' if plain == "" else yaml.safe_dump(plain, default_flow_style=True, width=1000).splitlines()[0]
    if not isinstance(plain, list) or len(value) <= _WIDTH:
        return [f"{indent}{leaf}: {value}{note}"]
    return [f"{indent}{leaf}:{note}", *(f"{indent}  - {item}" for item in plain)]


def listed_in_config() -> Mapping[str, type[Any]]:
    """The settings of each parameter file."""
    from si_embodied.ros_nodes.node.settings import NodeSettings
    from si_embodied.ros_nodes.recording.settings import RecorderSettings
    from si_embodied.ros_nodes.simulator.settings import SimulatorSettings

    return {"planner.yaml": NodeSettings, "sim.yaml": SimulatorSettings, "recorder.yaml": RecorderSettings}


def main() -> int:
    """Rewrite the files."""
    for name, cls in listed_in_config().items():
        file = config_file(name)
        file.write_text(rewritten(file.read_text(encoding="utf-8"), cls), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
