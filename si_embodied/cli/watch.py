"""`si-embodied watch`: show a run on a page while it goes on."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typing_extensions import Doc
from tyro.conf import Positional

from si_embodied.cli.output import say
from si_embodied.errors import ConfigError
from si_embodied.live.address import PAGE_HOST, PAGE_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = Path("runs")


@dataclass(frozen=True, slots=True)
class Watch:
    """Show a run of `eval` on a local page: images, plan, map, prompt, latency, holds and success so far.

    The run may have been started with any options, by any process, before or after this one; it shows its images only
    while a page is open. Ctrl-C ends the page, and leaves the run alone.
    """

    run_folder: Annotated[Path | None, Doc("the run's folder; default: the newest in runs/"), Positional] = None
    host: Annotated[str, PAGE_HOST] = "127.0.0.1"
    port: Annotated[int, PAGE_PORT] = 8430

    def run(self) -> int:
        """Serve the page until Ctrl-C."""
        from si_embodied.live.address import PageAddress
        from si_embodied.live.watching import watch

        folder = self.run_folder or newest_run(RUNS)
        if not folder.is_dir():
            raise ConfigError(f"no folder {str(folder)!r}; give the folder of a run, its --out")
        with watch(folder, PageAddress(self.host, self.port)) as page:
            say(f"watching {folder} (Ctrl-C ends the page, not the run)", page.url)
            try:
                while True:
                    time.sleep(1.0)
            except KeyboardInterrupt:
                say("stopped")
        return 0


def newest_run(runs: Path) -> Path:
    """The folder whose records were written last.

    Raises:
        ConfigError: there is none.
    """
    records = sorted(runs.glob("**/records*.jsonl"), key=lambda path: path.stat().st_mtime)
    if not records:
        raise ConfigError(
            f"no run in {str(runs)!r} to watch; give its folder, or start one: si-embodied eval --watch …"
        )
    return records[-1].parent


@contextlib.contextmanager
def live_page(run: Path) -> Iterator[None]:
    """A page that shows the run until it ends; its address is printed."""
    from si_embodied.live.watching import watch

    with watch(run) as page:
        say(f"watch it at {page.url}")
        yield
