"""The other side's first file, run by its path in the other Python: it fetches this package and goes to work.

    python start.py PACKAGE SOCKET MEMORY

PACKAGE is the folder of the si_embodied that started it, which alone is made importable here: nothing else that lies
beside it is. SOCKET and MEMORY are the descriptors of what both sides share. Standard input ends when the parent does.
"""

import importlib.util
import os
import sys
from pathlib import Path

OLDEST = (3, 10)


def main() -> None:
    """Check what is needed, import this package by its path, and serve."""
    package, connection, memory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.dup2(2, 1)  # what a simulator prints is no message
    if sys.version_info < OLDEST:
        sys.exit(
            f"Python {sys.version.split()[0]} is too old for si_embodied; it needs {OLDEST[0]}.{OLDEST[1]} or later"
        )
    missing = [name for name in ("numpy", "gymnasium") if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"install what is missing: {sys.executable} -m pip install {' '.join(missing)}")
    sys.path.pop(0)  # this file's folder
    spec = importlib.util.spec_from_file_location(
        "si_embodied",
        Path(package) / "__init__.py",
        submodule_search_locations=[package],
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["si_embodied"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from si_embodied.envs.process.child import serve

    serve(connection, memory)


if __name__ == "__main__":
    main()
