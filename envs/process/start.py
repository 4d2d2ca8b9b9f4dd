"""The child's entry point, run by path in the other Python: imports this package and serves requests.

    python start.py PACKAGE SOCKET MEMORY

PACKAGE is the folder of the parent's si_embodied; only this package becomes importable, nothing else beside it. SOCKET
and MEMORY are the file descriptors of the shared socket and memory. Standard input ends when the parent does.
"""

import importlib.util
import os
import sys
from pathlib import Path

OLDEST = (3, 10)


def main() -> None:
    """Check the requirements, import this package by its path, and serve."""
    package, connection, memory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.dup2(2, 1)  # a simulator's prints go to standard error
    if sys.version_info < OLDEST:
        sys.exit(
            f"Python {sys.version.split()[0]} is too old for si_embodied; it needs {OLDEST[0]}.{OLDEST[1]} or later"
        )
    missing = [name for name in ("numpy", "gymnasium") if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"missing packages; install them with: {sys.executable} -m pip install {' '.join(missing)}")
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
