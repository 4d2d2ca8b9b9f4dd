"""Write the generated pages of docs/reference: `make reference`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from command_page import command_page
from ros_pages import codes_page, messages_page, parameters_page

FOLDER = Path(__file__).parents[1] / "reference"
PAGES: Mapping[str, Callable[[], str]] = {
    "command.md": command_page, "parameters.md": parameters_page, "messages.md": messages_page, "codes.md": codes_page
}  # fmt: skip


def main() -> int:
    """Write every page."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
