"""What pyproject.toml cannot say: the ament_python install rules, and the licence as old setuptools reads it."""

from pathlib import Path

from setuptools import setup

PACKAGE = "si_embodied"
ROOT = Path(__file__).parent


def share(folder: str, pattern: str) -> list[tuple[str, list[str]]]:
    """Install rules for the files of a folder that match, if there are any, as paths relative to this file."""
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).glob(pattern) if path.is_file())
    return [(f"share/{PACKAGE}/{folder}", files)] if files else []


setup(
    license="Apache-2.0",
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        *share("launch", "*.launch.py"),
        *share("config", "*.yaml"),
    ],
    # colcon test looks for pytest here, and only here.
    extras_require={"test": ["pytest"]},
)
