"""Models on the Hugging Face Hub, or on a server with its interface (`HF_ENDPOINT`), named `hf://OWNER/NAME`.

What is downloaded goes to the cache of huggingface_hub (`HF_HOME`) and is used again without a network. It is checked
like any `best/` folder, and nothing in it is unpickled: model_card.py.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from segcct.errors import HubError, is_out_of_memory, short_reason
from segcct.extras import import_extra

FILES = ("model.json", "weights.safetensors", "quality.json")
"""What is downloaded of a repository; the last one only where it is there."""
README = "README.md"
SHAPE = "hf://OWNER/NAME or hf://OWNER/NAME@REVISION"
_MODEL = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+)(?:@(\S+))?")
_LOG_IN = "Log in by `hf auth login`, or set HF_TOKEN"
_REFUSED_STATUSES = (401, 403)
_LICENSES = "https://huggingface.co/docs/hub/repositories-licenses"


def is_on_hub(place: str | PurePath) -> bool:
    """Whether a model is named by `hf://`, also as a path, which has one slash of the two."""
    return _text(place).startswith("hf:/")


def hub_name(place: str | PurePath) -> str:
    """The name of a model on the Hub as users write it."""
    return re.sub("^hf:/+", "hf://", _text(place))


def local_model(place: str | Path) -> Path:
    """The folder of a model: `place` itself, or, of `hf://OWNER/NAME[@REVISION]`, its download.

    Raises:
        HubError: no such repository or revision, no permission, or no network and no earlier download.
        PackageError: huggingface_hub is not installed.
    """
    if not is_on_hub(place):
        return Path(place)
    found = _MODEL.fullmatch(_text(place))
    if found is None:
        raise HubError("does not name a model", file=hub_name(place), expected=SHAPE)
    repository, revision = found.groups()
    hub = _hub()
    with _in_our_words(f"hf://{repository}" + (f"@{revision}" if revision else "")):
        return Path(hub.snapshot_download(repository, revision=revision, allow_patterns=list(FILES)))


def check_repository(name: str) -> None:
    """Raises `HubError` for what is not OWNER/NAME."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise HubError("does not name a repository", found=name, expected="OWNER/NAME")


def upload(repository: str, files: Mapping[str, Path | bytes], *, public: bool, message: str) -> str:
    """Put a model's files into a repository in one commit, and remove those of `FILES` that it no longer has.

    Args:
        repository: OWNER/NAME; it is made where it is missing.
        files: name -> a file, or its content.
        public: everybody may read a new repository; one that exists stays as it is.
        message: of the commit.

    Returns the address of the repository's page.

    Raises `HubError` where nobody is logged in, the server refuses or it cannot be reached; then no file has changed,
    but a new repository may be there, empty.
    """
    check_repository(repository)
    hub = _hub()
    name = f"hf://{repository}"
    if hub.get_token() is None:
        raise HubError("nobody is logged in, and an upload needs a login", file=name, remedy=_LOG_IN)
    api = hub.HfApi()
    with _in_our_words(name):
        page = str(api.create_repo(repository, private=not public, exist_ok=True))
        old = [each for each in api.list_repo_files(repository) if each in FILES and each not in files]
        changes = [hub.CommitOperationAdd(path, content) for path, content in files.items()]
        changes += [hub.CommitOperationDelete(path) for path in old]
        api.create_commit(repository, changes, commit_message=message)
    return page


def _text(place: str | PurePath) -> str:
    return place if isinstance(place, str) else place.as_posix()


def _hub() -> Any:
    """huggingface_hub, which draws progress bars on a terminal only."""
    hub = import_extra("huggingface_hub", "share")
    if not sys.stderr.isatty():
        import_extra("huggingface_hub.utils", "share").disable_progress_bars()
    return hub


@contextmanager
def _in_our_words(name: str) -> Iterator[None]:
    """Turn the failures of huggingface_hub, some of which take several lines, into a `HubError` of one line."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise HubError("is open only to users who have accepted its terms", file=name, remedy=_LOG_IN) from error
    except errors.RevisionNotFoundError as error:
        raise HubError("has no such revision", file=name, remedy="Leave @REVISION out for the newest one") from error
    except errors.RepositoryNotFoundError as error:
        remedy = f"Check the name. If it is a private one: {_LOG_IN[0].lower()}{_LOG_IN[1:]}"
        raise HubError("no such repository", file=name, remedy=remedy) from error
    except errors.HFValidationError as error:  # of a name that no repository can have
        raise HubError("does not name a model", file=name, found=short_reason(error), expected=SHAPE) from error
    except errors.LocalEntryNotFoundError as error:
        raise HubError(
            "the server cannot be reached, and there is no earlier download",
            file=name,
            found=_reason(error),
            remedy="Check the network, HF_ENDPOINT and HF_HUB_OFFLINE",
        ) from error
    except errors.HfHubHTTPError as error:
        refused = error.response.status_code in _REFUSED_STATUSES
        what = "this login has no permission" if refused else "the server failed"
        remedy = _LOG_IN + " with a token that may write there" if refused else "Try again later"
        found = short_reason(error.server_message) if error.server_message else _reason(error)
        raise HubError(what, file=name, found=found, remedy=remedy) from error
    except Exception as error:  # those of its HTTP client are of no common class
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno is not None):
            raise
        if isinstance(error.__cause__, errors.BadRequestError):  # the fields of README.md, of which users give one
            remedy = f"Give the license by a name listed at {_LICENSES}, or as other"
            what = "the server does not take the description of the model"
            raise HubError(what, file=name, found=short_reason(error), remedy=remedy) from error
        remedy = "Check the network and HF_ENDPOINT, and try again"
        raise HubError("the exchange with the server failed", file=name, found=_reason(error), remedy=remedy) from error


def _reason(error: BaseException) -> str:
    """The first line of what caused a failure."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = next(iter(str(error).splitlines()), "")[:200]
    return f"{type(error).__name__}: {first}"
