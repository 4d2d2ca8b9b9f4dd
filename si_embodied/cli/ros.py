"""`si-embodied ros`: start a robot's ROS 2 nodes without the `launch` package, and check a robot before it moves."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typing_extensions import Doc
from tyro.conf import UseAppendAction, arg

from si_embodied.cli.options import EndWithJson
from si_embodied.cli.output import print_findings, print_findings_json, say
from si_embodied.cli.parsing import flags, reader
from si_embodied.cli.watch import live_page
from si_embodied.errors import ConfigError
from si_embodied.findings import Finding, Report
from si_embodied.ros_nodes.node.bringup import Bringup, require_ros, run

if TYPE_CHECKING:
    from si_embodied.ros_nodes.checks.pilot import Pilot


@dataclass(frozen=True, slots=True)
class Up:
    """Start the planner node, and with --sim a simulated robot.

    The planner is configured and activated, each node runs in its own process, and Ctrl-C stops the robot and ends them
    all. With an installed ROS 2, `ros2 launch si_embodied` does the same and more.
    """

    bringup: Annotated[
        Bringup,
        flags(
            "task", "seed", "speed", "backend", "model", "params_file", "record", "no_planner",
            sim=reader(str, "[WORLD]", without_value="apartment"),
        ),
    ] = Bringup()  # fmt: skip
    watch: Annotated[bool, Doc("show what the planner sees and does on a local page")] = False

    def run(self) -> int:
        """Start the nodes, and wait for them."""
        if not self.watch:
            return self._run(self.bringup)
        with tempfile.TemporaryDirectory(prefix="si-embodied-", ignore_cleanup_errors=True) as name:
            bringup = replace(self.bringup, live_folder=Path(name))
            bringup.nodes()  # fails before a page is opened
            with live_page(Path(name)):
                return self._run(bringup)

    @staticmethod
    def _run(bringup: Bringup) -> int:
        from rich.console import Console

        nodes = bringup.nodes()
        require_ros()
        console = Console(highlight=False, soft_wrap=True, stderr=True)
        console.print(f"starting {', '.join(node.name for node in nodes)} (Ctrl-C stops)", markup=False)
        code = run(nodes, lambda text: console.print(text, markup=False), simulated=bringup.sim is not None)
        console.print("stopped", markup=False)
        return code


@dataclass(frozen=True, slots=True)
class Check:
    """Check a robot before its first goal, without moving it: the pilot's checklist.

    Planner, watchdog, emergency stop, cameras, depth and its registration, transforms, the camera's mount, the floor,
    the guard's bounds and the drivers. Nothing is published. The robot must stand, with its nodes running. With
    --first-goal, one supervised task follows if everything is fine. The exit code is 1 if something is off or unknown.
    """

    params_file: Annotated[Path | None, Doc("the planner's; a planner that runs tells its parameters itself")] = None
    remap: Annotated[
        tuple[str, ...], Doc("a topic's name, as for the planner: head/depth:=/camera/depth"), UseAppendAction
    ] = ()
    namespace: Annotated[str, Doc("of the planner")] = ""
    seconds: Annotated[float, Doc("how long to watch the sensors, and then the watchdog")] = 5.0
    press_stop: Annotated[
        float, Doc("seconds to press the emergency stop, and to release it again"), arg(metavar="S")
    ] = 0.0
    first_goal: Annotated[str, Doc("then send this task, after you have confirmed it")] = ""
    goal_timeout: Annotated[float, Doc("seconds for that task"), arg(metavar="S")] = 60.0
    json: EndWithJson = False

    def run(self) -> int:
        """Check, and if asked send the first goal."""
        from si_embodied.ros_nodes.checks.pilot import Pilot, PilotOptions

        require_ros()
        if self.params_file is not None and not self.params_file.is_file():
            raise ConfigError(f"no such parameter file: {str(self.params_file)!r}")
        pilot = Pilot(self._ros_arguments(), say)
        try:
            report = pilot.check(PilotOptions(self.seconds, self.press_stop))
            code = print_findings(report, json_too=self.json and not self.first_goal)
            return self._send_first_goal(pilot, report) if self.first_goal else code
        finally:
            pilot.close()

    def _ros_arguments(self) -> list[str]:
        files = [] if self.params_file is None else ["--params-file", str(self.params_file)]
        namespace = [f"__ns:=/{self.namespace.strip('/')}"] if self.namespace else []
        return ["--ros-args", *files, *(part for name in (*namespace, *self.remap) for part in ("-r", name))]

    def _send_first_goal(self, pilot: Pilot, report: Report) -> int:
        found = self._first_goal(pilot, report)
        code = print_findings(Report((found,)), json_too=False)
        if self.json:
            print_findings_json(Report((*report.findings, found)))
        return code

    def _first_goal(self, pilot: Pilot, report: Report) -> Finding:
        from si_embodied.ros_nodes.checks.first_goal import first_goal

        if report.verdict != "fine":
            return Finding("first goal", "off", "not sent", "mend what is off or unknown above, and check again")
        say(
            f"the first goal is: {self.first_goal!r}, for {self.goal_timeout:.0f} s at most. Keep your hand on the "
            "emergency stop; Ctrl-C cancels. Type go to start:"
        )
        if sys.stdin.readline().strip().lower() != "go":
            return Finding("first goal", "off", "not sent: you did not type go")
        return first_goal(pilot, self.first_goal, self.goal_timeout, say)


SUBCOMMANDS = {"up": Up, "check": Check}
