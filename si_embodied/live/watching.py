"""A page for a run's folder."""

from __future__ import annotations

from pathlib import Path

from si_embodied.live.address import PageAddress
from si_embodied.live.app import PageApp
from si_embodied.live.folder import FolderSource
from si_embodied.live.server import PageServer


def watch(run: Path, address: PageAddress | None = None) -> PageServer:
    """A page that shows what goes on in a run's folder. Start it, and close it.

    Raises:
        ConfigError: the port is taken.
    """
    return PageServer(PageApp(FolderSource(run), "watch"), address or PageAddress(port=0))
