"""docs/reference: parameters.md from the settings dataclasses, messages.md from interfaces/, codes.md from `Code`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from markdown_tables import cell, code, table

from si_embodied import Code
from si_embodied.config import settings_of
from si_embodied.ros_nodes.node.parameter_files import listed_in_config
from si_embodied.ros_nodes.node.watchdog_settings import WatchdogSettings

ROOT = Path(__file__).parents[2]
INTERFACES = ROOT / "interfaces" / "si_embodied_msgs"
WRITTEN = "`make reference` writes this page from the code, so do not edit it; a test fails where it differs."

PARAMETERS = f"""\
# ROS parameters

Every parameter of the four nodes. {WRITTEN}

[planner.yaml](../../config/planner.yaml), [sim.yaml](../../config/sim.yaml) and
[recorder.yaml](../../config/recorder.yaml) list the same for copying. [ROS 2](../ros.md) says how to give them. The
planner's own settings (`planner.*`) have the same names, without that prefix, in a `--config` file of the command.
"""
NODES = {"planner.yaml": "planner_node", "sim.yaml": "sim_node", "recorder.yaml": "recorder_node"}

MESSAGES = f"""\
# Messages

The interfaces of the package `si_embodied_msgs`, in [ROS 2](../ros.md#the-node). {WRITTEN}
"""
FIELD = re.compile(
    r"^(?P<type>[\w/]+(?:\[\d*\])?)\s+(?P<name>\w+)\s*(?:=\s*(?P<value>[^\s#]+))?\s*(?:#\s*(?P<note>.*))?$"
)

CODES = f"""\
# Codes

Why a robot holds, why a goal was rejected, or how a skill ended. The numbers are those of `Code` in Python, of
`si_embodied_msgs/Code` in ROS and of every record. They are stable: a number is never used again for something else.
{WRITTEN} [The planner](../planner.md#why-a-robot-holds) says what happens after a hold, and
[ROS 2](../ros.md#when-it-holds) what to look at on a robot.
"""
HUNDREDS = {
    0: "Success", 1: "The observation", 2: "The model", 3: "From a pixel to a goal", 4: "The guard", 5: "Execution"
}  # fmt: skip


def parameters_page() -> str:
    """Every parameter with its default and meaning."""
    nodes = {NODES[file]: cls for file, cls in listed_in_config().items()} | {"watchdog_node": WatchdogSettings}
    return "\n".join([PARAMETERS, *(f"## {node}\n\n{_parameters(cls)}" for node, cls in nodes.items())])


def _parameters(cls: type[Any]) -> str:
    rows = [(code(each.name), code(_default(each.default)), cell(each.description)) for each in settings_of(cls)]
    return table(("parameter", "default", "meaning"), rows)


def _default(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000).splitlines()[0]
    return '""' if plain == "" else text


def messages_page() -> str:
    """Every field of every message, service and action."""
    files = [file for kind in ("action", "srv", "msg") for file in sorted((INTERFACES / kind).iterdir())]
    return "\n".join([MESSAGES, *(_interface(file) for file in files)])


PARTS: Mapping[str, tuple[str, ...]] = {
    ".action": ("Goal", "Result", "Feedback"), ".srv": ("Request", "Response"), ".msg": ("",)
}  # fmt: skip


def _interface(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    about = next(iter(_paragraphs(text)), "")
    parts = [f"## {file.stem}\n\n`{file.parent.name}/{file.name}`: {cell(about)}\n"]
    for title, part in zip(PARTS[file.suffix], re.split(r"^---$", text, flags=re.MULTILINE), strict=True):
        rows = [
            (code(row["type"]), code(f"{row['name']} = {row['value']}" if row["value"] else row["name"]), cell(note))
            for row, note in _fields(part)
        ]
        parts.append(f"**{title}**\n" if title else "")
        parts.append(table(("type", "field", "meaning"), rows))
    return "\n".join(filter(None, parts))


def _fields(text: str) -> Iterator[tuple[dict[str, str], str]]:
    """Each field with its comment, or the one above it."""
    above = ""
    for line in text.splitlines():
        if line.startswith("#"):
            above = f"{above} {line.lstrip('# ')}".strip()
        elif found := FIELD.match(line.strip()):
            yield found.groupdict(), found["note"] or above
            above = ""
        else:
            above = ""


def _paragraphs(text: str) -> Iterator[str]:
    for block in re.findall(r"(?:^#.*\n)+", text, re.MULTILINE):
        yield " ".join(line.lstrip("# ") for line in block.splitlines())


def codes_page() -> str:
    """Every code with its number and meaning."""
    parts = [CODES]
    for hundred, title in HUNDREDS.items():
        rows = [(str(int(each)), code(each.name), cell(each.meaning)) for each in Code if each // 100 == hundred]
        parts.append(f"## {title}\n\n{table(('number', 'name', 'meaning'), rows)}")
    return "\n".join(parts)
