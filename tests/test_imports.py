"""Which module may import what (the table in docs/architecture.md), read off the syntax tree of every file."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("si_embodied", "envs", "policies", "ros_nodes", "launch", "benchmarks", "tests")
PACKAGES = (
    "backends", "benchmarking", "calibration", "cli", "data", "deployment", "envs", "evaluation", "images", "live",
    "models", "parallel", "play", "policies", "ros_nodes", "sensor_noise", "serving", "studies", "suites", "training",
)  # fmt: skip

SIMULATORS = ("mujoco", "gymnasium", "gymnasium_robotics", "habitat", "habitat_sim", "mink", "scipy", "trimesh")
LEARNING = (
    "torch", "transformers", "peft", "accelerate", "onnxruntime", "onnx", "onnxscript", "llguidance",
    "tokenizers", "safetensors",
)  # fmt: skip
ROBOT = ("rclpy", "sensor_msgs", "geometry_msgs", "nav_msgs", "std_msgs", "tf2_ros")
SERVING = ("fastapi", "uvicorn", "msgpack", "websockets", "httpx", "prometheus_client")
CLUSTER = ("ray",)
DRAWING = ("PIL", "imageio", "imageio_ffmpeg", "matplotlib", "rerun", "rich")


@dataclass(frozen=True)
class Import:
    """One import statement."""

    file: Path
    line: int
    module: str  # absolute
    for_types: bool  # under TYPE_CHECKING
    at_top: bool  # runs when the module is imported
    names: tuple[str, ...] = ()  # taken from the module, which may be modules themselves

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def files() -> list[Path]:
    return sorted(
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        # The folders behind the three links are visited by their own names.
        if not any(parent.is_symlink() for parent in path.parents if parent != ROOT)
    )


def imports(file: Path) -> Iterator[Import]:
    def visit(node: ast.AST, for_types: bool, at_top: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(file, child.lineno, alias.name, for_types, at_top)
            elif isinstance(child, ast.ImportFrom) and child.level == 0:
                names = tuple(alias.name for alias in child.names)
                yield Import(file, child.lineno, child.module or "", for_types, at_top, names)
                # `from si_embodied import envs` imports a package too.
                if child.module == "si_embodied":
                    for alias in child.names:
                        if alias.name in PACKAGES:
                            yield Import(file, child.lineno, f"si_embodied.{alias.name}", for_types, at_top)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            yield from visit(child, for_types or checking, at_top and not inside)

    yield from visit(ast.parse(file.read_text(encoding="utf-8")), False, True)


def area(file: Path) -> str:
    """`core`, a package's name, or another top-level folder's."""
    parts = file.relative_to(ROOT).parts
    if parts[0] != "si_embodied":
        return parts[0]
    return parts[1] if len(parts) > 2 and parts[1] in PACKAGES else "core"


ALL = [entry for file in files() for entry in imports(file)]


def offences(where: str, *forbidden: str, types_too: bool = True, top_only: bool = False) -> list[str]:
    """The imports in an area of any forbidden module or of what is inside it."""
    return [
        str(entry)
        for entry in ALL
        if area(entry.file) == where
        and (types_too or not entry.for_types)
        and (entry.at_top or not top_only)
        and any(entry.module == name or entry.module.startswith(f"{name}.") for name in forbidden)
    ]


def ours(*packages: str) -> tuple[str, ...]:
    return tuple(f"si_embodied.{name}" for name in packages)


def test_the_core_knows_nobody() -> None:
    # The planner names the type of its backend, and may: backends.base is an interface and imports nothing heavy.
    others = ours(*(name for name in PACKAGES if name != "backends"))
    found = offences("core", *others, *SIMULATORS, *LEARNING, *ROBOT, *SERVING, *DRAWING)
    found += offences("core", "si_embodied.backends", types_too=False)
    # The package's face opens models for its users, and imports what does when it is first asked to.
    found = [text for text in found if "si_embodied/__init__.py" not in text]
    # What `si-embodied doctor` reports is what of all this works.
    found = [text for text in found if "si_embodied/installation.py" not in text]
    assert not found, "the core imports numpy, the standard library and pydantic, and nothing of ours:\n" + "\n".join(
        found
    )


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions included; imports for types and the root package aside."""
    modules = {module_name(file) for file in files() if area(file) not in ("launch", "benchmarks", "tests")}
    modules -= {"si_embodied"}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for entry in ALL:
        name = module_name(entry.file)
        if name in modules and not entry.for_types:
            named = {f"{entry.module}.{each}" for each in entry.names}
            graph[name] |= (modules & (named | {entry.module})) - {name}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' <- '.join(error.args[1])}")


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[0] == "si_embodied" else ("si_embodied", *parts))


def test_noise_is_for_everybody_and_knows_nobody() -> None:
    found = offences("sensor_noise", *ours(*(name for name in PACKAGES if name != "sensor_noise")))
    found += offences("sensor_noise", *SIMULATORS, *LEARNING, *ROBOT, *SERVING)
    assert not found, "worlds, simulated robots and training share the noise, which imports the core:\n" + "\n".join(
        found
    )


def test_images_in_files_know_nobody() -> None:
    found = offences("images", *ours(*(name for name in PACKAGES if name != "images")))
    found += offences("images", *SIMULATORS, *LEARNING, *ROBOT, *SERVING)
    assert not found, "worlds, calibration and evaluation read images with what imports the core:\n" + "\n".join(found)


def test_checks_of_the_computer_know_models_sizes_and_nobody_else() -> None:
    others = (name for name in PACKAGES if name not in ("deployment", "models"))
    found = offences("deployment", *ours(*others), *SIMULATORS, *ROBOT, *SERVING)
    found += offences("deployment", *LEARNING, top_only=True)
    assert not found, "deployment imports the core and models' sizes:\n" + "\n".join(found)


def test_policies_see_observations_only() -> None:
    found = offences("policies", *ours("envs", "evaluation", "cli", "models", "ros_nodes", "serving", "data"))
    found += offences("policies", "mujoco", "habitat", "habitat_sim", "torch", "OpenGL", *ROBOT)
    assert not found, "policies import no renderer, no simulator and no environment:\n" + "\n".join(found)


def test_only_privileged_policies_name_gymnasium() -> None:
    privileged = {"oracle.py", "perfect_pixels.py", "random.py"}
    found = [
        text
        for text in offences("policies", "gymnasium", types_too=False)
        if Path(text.split(":")[0]).name not in privileged
    ]
    assert not found, "a policy works on a robot too, where there is no gymnasium:\n" + "\n".join(found)


def test_worlds_do_not_know_who_acts_in_them() -> None:
    found = offences(
        "envs", *ours("policies", "evaluation", "cli", "models", "backends", "ros_nodes", "serving", "data")
    )
    found += offences("envs", *LEARNING, *ROBOT)
    assert not found, "envs import the core and simulators:\n" + "\n".join(found)


def test_models_and_backends_do_not_know_worlds() -> None:
    for where in ("models", "backends"):
        found = offences(
            where, *ours("envs", "policies", "evaluation", "cli", "ros_nodes", "serving"), *ROBOT, "mujoco"
        )
        # The one place that makes planners makes those of other machines too.
        found = [text for text in found if "backends/opening.py" not in text]
        assert not found, f"{where} import the core and learning libraries:\n" + "\n".join(found)


def test_serving_knows_neither_models_nor_worlds() -> None:
    found = offences("serving", *ours("envs", "policies", "evaluation", "cli", "models", "ros_nodes", "data"))
    found += offences("serving", *SIMULATORS, *LEARNING, *ROBOT)
    assert not found, "serving is given a backend, and imports the core and what carries messages:\n" + "\n".join(found)


def test_evaluation_reaches_worlds_and_policies_through_its_registry() -> None:
    found = offences("evaluation", *ours("envs", "cli", "ros_nodes", "serving"))
    found += offences("evaluation", *ours("policies", "models"), types_too=False)
    found = [
        text for text in found if "evaluation/registry.py" not in text and "policies.base" not in text
    ]  # base is the interface
    assert not found, "evaluation/registry.py alone knows environments and policies:\n" + "\n".join(found)


def test_parallel_knows_no_tasks_and_one_module_knows_ray() -> None:
    found = offences("parallel", *ours(*(name for name in PACKAGES if name != "parallel")))
    found += offences("parallel", *SIMULATORS, *LEARNING, *ROBOT, *SERVING, *DRAWING)
    found += [
        str(entry)
        for entry in ALL
        if entry.module.partition(".")[0] in CLUSTER and area(entry.file) != "tests" and entry.file.name != "cluster.py"
    ]
    assert not found, "parallel imports the core, and ray in cluster.py alone:\n" + "\n".join(found)


def test_suites_reach_worlds_and_policies_through_evaluation() -> None:
    found = offences("suites", *ours("cli", "envs", "models", "policies", "ros_nodes", "serving", "studies"))
    found += offences("suites", *SIMULATORS, *LEARNING, *ROBOT, *SERVING, *DRAWING)
    assert not found, "suites name worlds and policies, and evaluation makes them:\n" + "\n".join(found)


def test_a_page_shows_what_it_is_given_and_acts_on_nothing() -> None:
    found = offences(
        "live", *ours("backends", "cli", "data", "envs", "models", "play", "ros_nodes", "training"), types_too=False
    )
    found += offences("live", *SIMULATORS, *LEARNING, *ROBOT)
    found += offences("evaluation", *SERVING, "PIL", types_too=False, top_only=True)
    found = [
        text for text in found if not any(file in text for file in ("evaluation/video.py", "evaluation/tracing.py"))
    ]
    assert not found, "live imports the core, evaluation's watcher and serving's keys:\n" + "\n".join(found)


def test_episodes_do_not_know_who_watches_them() -> None:
    found = offences("evaluation", *ours("cli", "live", "play", "suites"))
    assert not found, "whoever starts an evaluation says who watches it (`Audience`):\n" + "\n".join(found)


def test_only_the_command_line_plays() -> None:
    found = [
        str(entry)
        for entry in ALL
        if entry.module.startswith("si_embodied.play")
        and area(entry.file) not in ("cli", "play", "tests", "benchmarks")
    ]
    assert not found, "play is for the command line:\n" + "\n".join(found)


def test_nobody_imports_the_command_line() -> None:
    found = [
        str(entry)
        for entry in ALL
        if entry.module.startswith("si_embodied.cli") and area(entry.file) not in ("cli", "tests", "benchmarks")
    ]
    assert not found, "the command line is the last user, of everything:\n" + "\n".join(found)


def test_studies_are_for_the_command_line_and_benchmarks_and_draw_in_one_place() -> None:
    found = [
        str(entry)
        for entry in ALL
        if entry.module.startswith("si_embodied.studies")
        and area(entry.file) not in ("cli", "studies", "tests", "benchmarks")
    ]
    found += offences("studies", *ours("cli", "envs", "policies", "ros_nodes", "serving"), "mujoco", "gymnasium")
    found += [
        str(entry) for entry in ALL if entry.module.partition(".")[0] == "matplotlib" and entry.file.name != "plots.py"
    ]
    assert not found, "studies use what the package offers, and matplotlib in plots.py alone:\n" + "\n".join(found)


def test_a_verb_imports_nothing_heavy_before_it_runs() -> None:
    heavy = (*SIMULATORS, *LEARNING, *ROBOT, *SERVING, *DRAWING, "numpy", "pydantic")
    found = offences("cli", *heavy, types_too=False, top_only=True)
    assert not found, "--help must be quick; import inside run():\n" + "\n".join(found)


@pytest.mark.parametrize("name", ["envs", "policies", "ros_nodes"])
def test_nobody_imports_the_top_level_folders_by_bare_name(name: str) -> None:
    found = [str(entry) for entry in ALL if entry.module == name or entry.module.startswith(f"{name}.")]
    assert not found, f"import si_embodied.{name}; nothing called {name} is installed:\n" + "\n".join(found)


@pytest.mark.parametrize("name", ["envs", "policies", "ros_nodes"])
def test_the_folders_are_linked_into_the_package(name: str) -> None:
    link = ROOT / "si_embodied" / name
    assert link.is_symlink(), f"{link} must be a relative symbolic link to ../{name}"
    assert link.readlink() == Path("..") / name


def test_launch_is_no_package() -> None:
    assert not (ROOT / "launch" / "__init__.py").exists(), "launch/__init__.py would hide ROS's own `launch`"


def test_no_imports_are_relative() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in files()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert not found, "write imports out, so that the rules here can be checked:\n" + "\n".join(found)


# --- what importing costs -------------------------------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import si_embodied", {*SIMULATORS, *LEARNING, *ROBOT, *SERVING, *DRAWING, *CLUSTER, "pydantic", "yaml"}),
        ("import si_embodied.planner", {*SIMULATORS, *LEARNING, *ROBOT, *SERVING, *DRAWING}),
        ("import si_embodied.backends", {*SIMULATORS, *LEARNING, *ROBOT, *SERVING, *DRAWING}),
        (
            "import si_embodied.serving.client",
            {*SIMULATORS, *LEARNING, *ROBOT, *DRAWING, "fastapi", "uvicorn", "httpx"},
        ),
        ("import si_embodied.envs", {*LEARNING, *ROBOT, *SERVING, *DRAWING, "mujoco", "mink", "habitat", "trimesh"}),
        (
            "import si_embodied.evaluation.runner",
            {*LEARNING, *ROBOT, *SERVING, *DRAWING, *CLUSTER, "mujoco", "gymnasium"},
        ),
        (
            "import si_embodied.cli.main",
            {*LEARNING, *SIMULATORS, *ROBOT, *SERVING, *DRAWING, "pydantic", "numpy", "tyro"},
        ),
    ],
)
def test_importing_stays_light(statement: str, heavy: set[str]) -> None:
    found = sorted(loaded_by(statement) & heavy)
    assert not found, f"`{statement}` loads {found}; import them where they are used"


def test_every_name_of_the_package_is_there_when_it_is_used() -> None:
    import si_embodied

    for name in si_embodied.__all__:
        assert getattr(si_embodied, name) is not None
    assert set(si_embodied.__all__) <= set(dir(si_embodied))
    with pytest.raises(AttributeError, match="has no attribute 'Taks'"):
        si_embodied.Taks  # noqa: B018 - the access is the test


def test_importing_the_package_takes_under_300_ms() -> None:
    """Of the processor and beyond the interpreter's own start: a busy machine is not the package's fault."""
    code = "import time; start = time.process_time(); import si_embodied; print(time.process_time() - start)"
    took_s = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(took_s) < 0.3, f"`import si_embodied` takes {min(took_s):.2f} s"
