"""Resolves a model name: a local directory, a short name from the registry, or `owner/name[@revision]` on the hub.

Only weights, JSON and text files are downloaded, never a checkpoint's Python code, nor the autoencoder with which BAGEL
generates images. The resolved commit is part of the
path in the hub's cache, and therefore of the model name in every record.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from si_embodied.errors import CheckpointError, extra
from si_embodied.models.checkpoints import unreadable
from si_embodied.models.registry import find_release

_LOG = logging.getLogger(__name__)

FILES = ("*.safetensors", "*.json", "*.txt")
"""Downloaded files: weights, configuration, vocabularies."""
_NOT = ("ae.safetensors",)
"""BAGEL's autoencoder of images."""

_HUB_ID = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_SHORT = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
_CACHE_REPOSITORY = "models--"  # hub cache: models--owner--name/snapshots/<commit>
_SHOWN_COMMIT = 12
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}")


def resolve_model(model: str | Path) -> Path:
    """The local directory of a model, downloading it from the hub if it is not in the cache.

    An existing path takes precedence. A revision is a branch, a tag or a commit; by default the current `main`. Nothing
    is downloaded if HF_HUB_OFFLINE is set.

    Raises:
        CheckpointError: the model cannot be downloaded.
        MissingExtraError: the model is on the hub and huggingface_hub is not installed.
    """
    text = str(model)
    try:
        path = Path(model).expanduser()
        if path.exists() or text.startswith((".", "~", "/")):
            return path
    except (OSError, RuntimeError) as error:  # RuntimeError: no such user in "~user"
        raise unreadable(text, error) from error
    if match := _SHORT.fullmatch(text):
        release = find_release(match["name"])
        repository, revision = (release.hub_id if release else None), match["revision"]
    else:
        match = _HUB_ID.fullmatch(text)
        repository, revision = (match["repository"], match["revision"]) if match else (None, None)
    if repository is None:
        return path
    return _download(repository, revision)


def model_name(directory: Path) -> str:
    """The model's name in records: its directory's name, or `owner/name@commit` for the hub's cache."""
    path = directory.resolve()
    repository = path.parent.parent.name
    if path.parent.name == "snapshots" and repository.startswith(_CACHE_REPOSITORY):
        name = repository.removeprefix(_CACHE_REPOSITORY).replace("--", "/", 1)
        return f"{name}@{path.name[:_SHOWN_COMMIT]}"
    return path.name


def _download(repository: str, revision: str | None) -> Path:
    """Download a snapshot and return its directory in the hub's cache."""
    with extra("models"):
        import huggingface_hub
        from huggingface_hub.constants import HF_HUB_CACHE
        from huggingface_hub.errors import (
            GatedRepoError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

    named = repository if revision is None else f"{repository}@{revision}"
    revision = _whole_commit(repository, revision, Path(HF_HUB_CACHE))
    try:
        directory = Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision, allow_patterns=list(FILES), ignore_patterns=list(_NOT), etag_timeout=10
            )
        )
    except GatedRepoError as error:
        raise CheckpointError(
            f"{named} is gated: accept its terms on its hub page, then log in with 'hf auth login'"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{repository} has no revision {revision!r}: give a branch, a tag or a commit") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{repository!r} is neither a directory nor a model on the hub (if it is private, log in with 'hf auth "
            "login'); 'si-embodied models list' lists the released ones"
        ) from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(_offline(named, repository, revision)) from error
    except Exception as error:
        # Disk, proxy and HTTP library raise many types; each means that the download failed.
        raise CheckpointError(f"{named} could not be downloaded: {type(error).__name__}: {error}") from error
    _LOG.info("%s resolved to %s", named, model_name(directory))
    return directory


def _whole_commit(repository: str, revision: str | None, cache: Path) -> str | None:
    """The whole of a commit that a record shortened, if the cache has it; else the revision as it was given."""
    if revision is None or not _SHORT_COMMIT.fullmatch(revision):
        return revision
    snapshots = cache / f"{_CACHE_REPOSITORY}{repository.replace('/', '--')}" / "snapshots"
    found = [path.name for path in snapshots.glob(f"{revision}*")]
    return found[0] if len(found) == 1 else revision


def _offline(named: str, repository: str, revision: str | None) -> str:
    """How to get the model onto a machine without network access."""
    from huggingface_hub import is_offline_mode

    why = "HF_HUB_OFFLINE is set" if is_offline_mode() else "the hub is unreachable"
    folder = repository.partition("/")[2]
    patterns = " ".join(f"--include '{pattern}'" for pattern in FILES)
    at = "" if revision is None else f" --revision {revision}"
    return (
        f"{named!r} is neither a directory nor in the hub's cache, and {why}: on a machine with network access, run "
        f"'hf download {repository}{at} {patterns} --local-dir {folder}', then copy {folder}/ to this machine and give "
        "its path as the model"
    )
