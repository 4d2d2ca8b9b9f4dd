"""Writes episodes as a data set, into a folder that appears when it is complete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from si_embodied.errors import ConfigError, RecordError
from si_embodied.evaluation.lerobot.dataset import DatasetWriter, Exported
from si_embodied.evaluation.lerobot.episodes import find_episodes
from si_embodied.evaluation.lerobot.form import Images
from si_embodied.evaluation.lerobot.survey import survey
from si_embodied.progress import track
from si_embodied.runs import cannot_write


def export(
    folders: Sequence[Path], out: Path, *, images: Images = "video", successful: bool = False, with_steps: bool = False
) -> Exported:  # fmt: skip
    """Write the episodes of runs as a LeRobot data set.

    Args:
        folders: what `eval --keep-steps` or `play` wrote, or folders that contain such folders.
        out: a new folder.
        images: as H.264 videos with whole or halved colour resolution, or as PNG, which loses nothing.
        successful: leave out the other episodes.
        with_steps: leave out episodes whose steps were not kept.

    Raises:
        ConfigError: there is something in the folder, there are no such episodes, their steps were not kept, or they
            do not fit into one data set.
        RecordError: a file cannot be written.
    """
    _check_new(out)
    sources = find_episodes(folders, successful=successful, with_steps=with_steps)
    common = survey(sources, images)
    with _new_folder(out) as root, DatasetWriter(root, common, images) as writer:
        with track("exporting", len(sources)) as work:
            for source in sources:
                writer.add(source)
                work.advance()
        return writer.finish()


def _check_new(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"there is something in {str(out)!r} already; choose another --out, or remove it")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out`, which takes its place when the block succeeds.

    Raises:
        RecordError: a file cannot be written.
    """
    root: Path | None = None
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        root = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
        root.chmod(0o755)  # mkdtemp's folders are for their owner alone
        yield root
        if out.exists():
            out.rmdir()
        root.rename(out)
    except RecordError:
        raise
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        if root is not None:
            shutil.rmtree(root, ignore_errors=True)
