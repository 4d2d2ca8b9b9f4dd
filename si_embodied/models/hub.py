"""Where a checkpoint is: a local directory, a short name of the registry, or `owner/name[@revision]` on the hub.

Only weights, JSON and text are ever downloaded: no Python file of a checkpoint reaches this machine this way. What a
revision was resolved to is part of the path that the hub's cache keeps it under, and so of the name in every record.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from si_embodied.errors import CheckpointError, extra
from si_embodied.models.registry import find_release

_LOG = logging.getLogger(__name__)

FILES = ("*.safetensors", "*.json", "*.txt")
"""What is downloaded: weights, settings, vocabularies."""

_HUB_ID = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_SHORT = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
_CACHE_REPOSITORY = "models--"  # hub cache: models--owner--name/snapshots/<commit>
_SHOWN_COMMIT = 12


def resolve_model(model: str | Path) -> Path:
    """The local directory of a model; one on the hub is downloaded, unless it is in the cache or HF_HUB_OFFLINE is set.

    What is there as a path is taken as a path. A revision is a branch, a tag or a commit, by default `main` of today.

    Raises:
        CheckpointError: it is on the hub and cannot be had, or runs only behind a server.
        MissingExtraError: it is on the hub and huggingface_hub is not installed.
    """
    text, path = str(model), Path(model).expanduser()
    if path.exists() or text.startswith((".", "~", "/")):
        return path
    if match := _SHORT.fullmatch(text):
        release = find_release(match["name"])
        repository, revision = (release.hub_id if release else None), match["revision"]
    else:
        match = _HUB_ID.fullmatch(text)
        repository, revision = (match["repository"], match["revision"]) if match else (None, None)
    if repository is None:
        return path
    if (release := find_release(repository)) and release.server_only:
        raise CheckpointError(
            f"{repository} runs only behind a server that supports {release.family}, not in this process: "
            "see docs/models.md"
        )
    return _download(repository, revision)


def model_name(directory: Path) -> str:
    """What a model is called in records: its directory's name, or in the hub's cache `owner/name@commit`."""
    path = directory.resolve()
    repository = path.parent.parent.name
    if path.parent.name == "snapshots" and repository.startswith(_CACHE_REPOSITORY):
        name = repository.removeprefix(_CACHE_REPOSITORY).replace("--", "/", 1)
        return f"{name}@{path.name[:_SHOWN_COMMIT]}"
    return path.name


def _download(repository: str, revision: str | None) -> Path:
    """The snapshot's directory in the hub's cache."""
    with extra("models"):
        import huggingface_hub
        from huggingface_hub.errors import (
            GatedRepoError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

    named = repository if revision is None else f"{repository}@{revision}"
    try:
        directory = Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision, allow_patterns=list(FILES), etag_timeout=10
            )
        )
    except GatedRepoError as error:
        raise CheckpointError(
            f"{named} asks for consent: accept its terms on its page on the hub, then log in with 'hf auth login'"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{repository} has no revision {revision!r}: give a branch, a tag or a commit") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"there is no directory {repository!r} here and no such model on the hub (or it is private: 'hf auth "
            "login'); 'si-embodied models list' names the released ones"
        ) from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(_offline(named, repository, revision)) from error
    except Exception as error:
        # the disk, the proxy, the HTTP library of the day: every one means that it was not downloaded
        raise CheckpointError(f"{named} could not be downloaded: {type(error).__name__}: {error}") from error
    _LOG.info("%s is %s", named, model_name(directory))
    return directory


def _offline(named: str, repository: str, revision: str | None) -> str:
    """What to do without a network."""
    from huggingface_hub import is_offline_mode

    why = "HF_HUB_OFFLINE is set" if is_offline_mode() else "the hub cannot be reached"
    folder = repository.partition("/")[2]
    patterns = " ".join(f"--include '{pattern}'" for pattern in FILES)
    at = "" if revision is None else f" --revision {revision}"
    return (
        f"there is no directory {named!r} here, it is not in the hub's cache, and {why}: where there is a network, run "
        f"'hf download {repository}{at} {patterns} --local-dir {folder}', copy {folder}/ to this machine and give its "
        "path as the model"
    )
