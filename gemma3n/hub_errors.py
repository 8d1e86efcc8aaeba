"""What huggingface_hub raises -> one refusal that says what came, what is needed and how to fix it.

Of what the library says only reasons are passed on: its addresses may be signed ones.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from gemma3n.errors import SettingsError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNAUTHORIZED = 401


class UnreachableError(SettingsError):
    """The hub cannot be asked, so that what is in the cache has to do."""


@contextmanager
def asked(repository: str, revision: str) -> Iterator[None]:
    """A question to the hub: a connection that fails leaves the hub out of reach.

    Raises:
        UnreachableError: that.
        SettingsError: the hub refuses, see `explained`.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    with explained(repository, revision):
        try:
            yield
        except (HfHubHTTPError, OfflineModeIsEnabled):
            raise
        except (_http_error(), OSError) as error:
            raise _unreachable(repository, f"cannot be reached ({_reason(error)})") from error


@contextmanager
def explained(repository: str, revision: str) -> Iterator[None]:
    """Use of huggingface_hub whose errors become refusals of ours.

    Raises:
        SettingsError: in place of what the library raises.
    """
    from huggingface_hub import errors

    try:
        yield
    except SettingsError:
        raise
    except errors.GatedRepoError as error:
        raise SettingsError(_gated(repository)) from error
    except errors.RepositoryNotFoundError as error:
        raise SettingsError(
            f"'{repository}' is no folder here, and the Hugging Face hub has no such repository "
            "that you may see. Correct the name or the path; for a private repository log in "
            "with `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SettingsError(
            f"'{repository}' has no revision '{revision}'. Name a branch, a tag or a commit of it, "
            f"or leave '@{revision}' out."
        ) from error
    except errors.HFValidationError as error:
        raise SettingsError(
            f"'{repository}' is no folder here, and no name that the Hugging Face hub allows. "
            "Correct it: owner/name, or owner/name@revision."
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise _unreachable(repository, "may not be asked (HF_HUB_OFFLINE is set)") from error
    except errors.LocalEntryNotFoundError as error:
        raise _unreachable(repository, "cannot be reached any more") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status == _UNAUTHORIZED:
            raise SettingsError(
                f"the Hugging Face hub does not accept your token for '{repository}'. Log in "
                "again with `hf auth login`, or correct HF_TOKEN."
            ) from error
        raise _unreachable(repository, f"answers with HTTP status {status}") from error
    except (_http_error(), OSError, RuntimeError) as error:
        raise SettingsError(_broken(repository, error)) from error
    except ValueError as error:
        raise SettingsError(
            f"{_endpoint()} does not answer as the Hugging Face hub does when asked for "
            f"'{repository}'. Correct HF_ENDPOINT, or log in to the network you are in."
        ) from error


def lacks(repository: str, file: str) -> SettingsError:
    """The refusal of a repository that has no such file."""
    return SettingsError(
        f"'{repository}' on the Hugging Face hub has no {file}. A checkpoint of Gemma 3n has "
        "config.json and *.safetensors, and no other weights are read. Name the repository of "
        "such a one, as google/gemma-3n-E2B-it."
    )


def _http_error() -> type[Exception]:
    """What every failure of a connection is: httpx's root of errors, later httpx2's."""
    from huggingface_hub.errors import HfHubHTTPError

    root: type[Exception] = HfHubHTTPError.__bases__[0]
    return root


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _cache() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def _gated(repository: str) -> str:
    from huggingface_hub import get_token

    where = f"{_endpoint()}/{repository}"
    if get_token() is None:
        return (
            f"'{repository}' is gated: who wants it has to accept its terms, and you are not "
            f"logged in. Accept them at {where}, then run `hf auth login`, or set HF_TOKEN to a "
            "token of yours."
        )
    return (
        f"'{repository}' is gated: who wants it has to accept its terms, and the account of your "
        f"token has not been let in. Accept them at {where} with that account; a fine-grained "
        "token must also be allowed to read gated repositories."
    )


def _unreachable(repository: str, why: str) -> UnreachableError:
    return UnreachableError(
        f"'{repository}' is no folder here and not, or not wholly, in the cache '{_cache()}', and "
        f"the Hugging Face hub {why}. Try again when it answers, or give the path of a checkpoint "
        "folder."
    )


def _broken(repository: str, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in _FULL:
        return (
            f"the disk of '{_cache()}' is full, so '{repository}' does not come. Make room, or set "
            "HF_HOME to a folder on a larger disk; files that are whole stay, and the same command "
            "goes on."
        )
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"'{error.filename}' cannot be written: {error.strerror}. '{repository}' is to come "
            "there: make the folder writable, or set HF_HOME to another."
        )
    return (
        f"the download of '{repository}' broke off: {_reason(error)}. Files that are whole stay, "
        "and the same command goes on."
    )


def _reason(error: Exception) -> str:
    """The kind of an error and its first line, without addresses."""
    first = re.sub(r"\w+://\S+", "(address)", next(iter(str(error).splitlines()), ""))
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
