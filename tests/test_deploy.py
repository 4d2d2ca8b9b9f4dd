"""The files of deploy/ name what exists: commands, flags, ports, endpoints, extras, modules, parameters, variables."""

from __future__ import annotations

import configparser
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from si_embodied.cli.main import parse
from si_embodied.config import from_mapping
from si_embodied.errors import SiEmbodiedError
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.serving.options import ServeOptions

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))
COMPOSES = sorted(DEPLOY.glob("compose*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
PARAMETERS = [DEPLOY / "robot.yaml", DEPLOY / "sim.yaml"]
PORT = ServeOptions().port
named = {"ids": lambda path: path.name}


def understood(command: list[str]) -> bool:
    """Whether `si-embodied` accepts the arguments; a file of the target machine need not exist here."""
    try:
        parse(command)
    except SystemExit as stopped:
        return stopped.code == 0
    except SiEmbodiedError as error:
        return "no such parameter file" in str(error) or "cannot" in str(error) or "needs" in str(error)
    return True


def stages(dockerfile: Path) -> dict[str, list[str]]:
    """The instructions of each stage by its name, comments removed and continued lines joined."""
    text = "\n".join(line for line in dockerfile.read_text().splitlines() if not line.startswith("#"))
    found: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if start := re.match(r"FROM (?:--\S+ )?(\S+) AS (\S+)", line):
            found[start[2]] = []
        if line.strip() and found:
            found[list(found)[-1]].append(line)
    return found


def entry_points() -> dict[tuple[Path, str], list[str]]:
    """Of every stage that is run, its entry point."""
    found = {}
    for dockerfile, (name, lines) in ((d, s) for d in DOCKERFILES for s in stages(d).items()):
        for line in lines:
            if line.startswith("ENTRYPOINT "):
                found[dockerfile, name] = list(yaml.safe_load(line.removeprefix("ENTRYPOINT ")))
    return found


# --- Dockerfiles ----------------------------------------------------------------------------------------------------


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        pytest.skip("hadolint is not installed (extra dev)")
    done = subprocess.run([program, *map(str, DOCKERFILES)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("dockerfile", DOCKERFILES, **named)
def test_extras_of_an_image_exist(dockerfile: Path) -> None:
    declared = set(re.findall(r"^([a-z-]+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    lists = re.findall(r"(?:\$1|\.)\[([a-z,-]+)\]", dockerfile.read_text())
    assert lists
    assert {extra for each in lists for extra in each.split(",")} <= declared


@pytest.mark.parametrize("dockerfile", DOCKERFILES, **named)
def test_bases_are_pinned_and_nothing_runs_as_root(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    built = stages(dockerfile)
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)", text, re.MULTILINE))
    for written in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        base = written
        for name, value in reversed(arguments.items()):  # an argument may name an earlier one
            base = base.replace(f"${{{name}}}", value)
        tag = re.search(r":([\w.-]+)$", base)
        assert base in built or (tag and tag[1] != "latest"), f"{base} is not pinned"
    for (_, name), _command in ((key, c) for key, c in entry_points().items() if key[0] == dockerfile):
        users = [line.split()[1] for line in built[name] if line.startswith("USER ")]
        assert users[-1:] == ["10001"], f"{name} runs as root"


@pytest.mark.parametrize("dockerfile", DOCKERFILES, **named)
def test_a_health_check_asks_the_server_s_own_endpoint_and_port(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    addresses = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", text)
    runs_server = any("serve" in command for (path, _), command in entry_points().items() if path == dockerfile)
    assert bool(addresses) == runs_server
    assert set(addresses) <= {(str(PORT), "/healthz")}
    assert set(re.findall(r"^EXPOSE (\d+)", text, re.MULTILINE)) <= {str(PORT)}
    assert '"/healthz"' in (ROOT / "si_embodied" / "serving" / "app.py").read_text()
    assert "HEALTHCHECK" in text, "say so with HEALTHCHECK NONE, if there is none"


def test_the_build_context_has_what_the_package_is_built_from() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((ROOT / name).exists() for name in allowed)
    package = ("config", "interfaces", "launch", "resource", "si_embodied", "envs", "policies", "ros_nodes", "LICENSE")
    assert {*package, "README.md", "pyproject.toml", "setup.py", "setup.cfg", "package.xml"} <= set(allowed)
    for dockerfile in DOCKERFILES:
        for copied in re.findall(r"^COPY (?:--chmod=\S+ )?(\w\S*) ", dockerfile.read_text(), re.MULTILINE):
            assert copied in allowed, f"{dockerfile.name} copies {copied}, which .dockerignore leaves out"


# --- compose --------------------------------------------------------------------------------------------------------


def services() -> Iterator[tuple[Path, str, dict[str, Any]]]:
    for compose in COMPOSES:
        for name, service in yaml.safe_load(compose.read_text())["services"].items():
            yield compose, name, service


each_service = pytest.mark.parametrize(
    ("compose", "name", "service"), [pytest.param(*each, id=f"{each[0].name}:{each[1]}") for each in services()]
)


@each_service
def test_a_service_is_built_from_a_stage_that_exists(compose: Path, name: str, service: dict[str, Any]) -> None:
    build = service["build"]
    dockerfile = (
        compose.parent / build.get("context", "..") / build.get("dockerfile", "deploy/docker/server.Dockerfile")
    )
    assert dockerfile.is_file()
    assert build.get("target", list(stages(dockerfile))[-1]) in stages(dockerfile)


@each_service
def test_a_service_runs_a_command_that_exists(compose: Path, name: str, service: dict[str, Any]) -> None:
    build = service["build"]
    dockerfile = DEPLOY.parent / build.get("dockerfile", "deploy/docker/server.Dockerfile")
    stage = build.get("target", list(stages(dockerfile))[-1])
    entry, command = entry_points()[dockerfile, stage], service["command"]
    if entry[0] == "si-embodied":
        assert understood([*entry[1:], *command])
    else:
        assert command[:2] == ["python3", "-m"]
        assert find_spec(command[2].rpartition(".")[0]) is not None
        assert (ROOT / "ros_nodes" / f"{command[2].rpartition('.')[2]}.py").is_file()


@each_service
def test_a_service_has_no_rights_that_it_does_not_need(compose: Path, name: str, service: dict[str, Any]) -> None:
    if compose.name == "compose.cuda.yaml":
        pytest.skip("it is laid over compose.yaml")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not service.get("privileged")


@each_service
def test_files_of_a_service_exist_or_have_an_example(compose: Path, name: str, service: dict[str, Any]) -> None:
    for file in service.get("env_file", []):
        assert (DEPLOY / f"{file}.example").is_file()
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        assert not source.startswith(".") or (DEPLOY / source).is_file(), source


# --- systemd --------------------------------------------------------------------------------------------------------


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return parser


@pytest.mark.parametrize("path", UNITS, **named)
def test_systemd_understands_a_unit(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    for each in UNITS:  # beside each other, so that they find each other; with programs that exist here
        text = re.sub(r"^(Exec\w+=)(?:/opt|/usr)\S+", rf"\1{sys.executable}", each.read_text(), flags=re.MULTILINE)
        (tmp_path / each.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / path.name)]
    done = subprocess.run(command, capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "si-embodied" in line]
    assert not ours


@pytest.mark.parametrize("path", UNITS, **named)
def test_a_unit_is_hardened_and_restarts_within_limits(path: Path) -> None:
    service, section = unit(path)["Service"], unit(path)["Unit"]
    assert service["User"] == "si-embodied"
    expected = {"NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "ProtectSystem": "strict", "ProtectHome": "yes"}
    assert {key: service[key] for key in expected} == expected
    if "watchdog" in path.name:  # without it nobody stops the robot if the planner dies
        assert (service["Restart"], section["StartLimitIntervalSec"]) == ("always", "0")
    else:
        assert service["Restart"] == "on-failure"
        assert int(section["StartLimitBurst"]) * float(service["RestartSec"]) < int(section["StartLimitIntervalSec"])
    example = DEPLOY / f"{Path(service['EnvironmentFile']).name}.example"
    assert example.is_file()


def test_the_server_s_unit_starts_a_command_that_exists_and_waits_for_its_endpoint() -> None:
    service = unit(DEPLOY / "systemd" / "si-embodied-server.service")["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert (program.rpartition("/")[2], arguments) == ("si-embodied", ["serve", "$SERVE_OPTIONS"])
    assert service["ExecStartPost"].endswith(f"http://127.0.0.1:{PORT}/healthz")
    written = re.findall(r"^#?SERVE_OPTIONS=(.*)$", (DEPLOY / "server.env.example").read_text(), re.MULTILINE)
    assert written
    for options in written:
        assert understood(["serve", *shlex.split(options)]), options


@pytest.mark.parametrize("name", ["planner", "watchdog"])
def test_a_robot_s_unit_starts_a_node_that_exists_with_our_files(name: str) -> None:
    command = unit(DEPLOY / "systemd" / f"si-embodied-{name}.service")["Service"]["ExecStart"]
    assert f"exec python3 -m si_embodied.ros_nodes.{name}_node " in command
    assert (ROOT / "ros_nodes" / f"{name}_node.py").is_file()
    for file in re.findall(r"/etc/si-embodied/(\S+)", command.replace("'", "")):
        assert list(DEPLOY.rglob(file)), file


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PARAMETERS, **named)
def test_parameters_are_the_planner_s(path: Path) -> None:
    given = yaml.safe_load(path.read_text())["/**"]["ros__parameters"]
    settings = from_mapping(NodeSettings, given)
    assert settings.backend == "remote"
    assert settings.url.endswith(f":{PORT}")


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("*.env.example")), **named)
def test_variables_are_read_by_somebody(path: Path) -> None:
    ours = [re.findall(r"SI_EMBODIED_[A-Z_]+", file.read_text()) for file in (ROOT / "si_embodied").glob("[bs]*/*.py")]
    others = {"SERVE_OPTIONS", "ROS_DOMAIN_ID", "FASTDDS_DEFAULT_PROFILES_FILE"}  # the unit's, ROS's and Fast DDS's
    names = set(re.findall(r"^#?([A-Z_]+)=", path.read_text(), re.MULTILINE))
    assert names <= {*itertools.chain(*ours), *others}


def test_no_file_has_a_key() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert not re.search(
                r"API_KEY=\S|SERVER_KEY=\S", path.read_text().replace("API_KEY=$(", "").replace("API_KEY=...", "")
            ), path


def test_the_balancer_asks_the_server_s_endpoint_and_listens_at_its_port() -> None:
    text = (DEPLOY / "balancer" / "haproxy.cfg").read_text()
    assert f"bind 127.0.0.1:{PORT}" in text
    assert "option httpchk GET /healthz" in text
    started = re.findall(r"(serve --port \d+)", text)
    assert all(understood(command.split()) for command in started)
    assert [command.split()[-1] for command in started] == re.findall(
        r"^    server \w+ 127\.0\.0\.1:(\d+)", text, re.MULTILINE
    )


def test_sysctl_gives_what_the_doctor_asks_for() -> None:
    from si_embodied.deployment.dds import LEAST_BUFFER_BYTES

    lines = (DEPLOY / "sysctl" / "60-si-embodied.conf").read_text().splitlines()
    values = dict(line.split(" = ") for line in lines if line and not line.startswith("#"))
    assert int(values["net.core.rmem_max"]) >= LEAST_BUFFER_BYTES


def test_udev_s_rules_are_pairs_of_key_and_value() -> None:
    pair = re.compile(r'[A-Z]+(?:\{[\w/.]+\})?(?:==|!=|=|\+=|:=)"[^"]*"')
    for line in (DEPLOY / "udev" / "60-si-embodied-cameras.rules").read_text().splitlines():
        if line and not line.startswith("#"):
            assert all(pair.fullmatch(part) for part in line.split(", ")), line
