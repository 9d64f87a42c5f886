"""Talking to huggingface_hub and hf_xet: without their log on the screen, and with their errors in our words.

Nothing here asks a hub; `hub_errors_for` goes around whatever does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from acestep_lab.models.download.hub import HubError, host_of, status_error

LOG_IN = "Log in with `hf auth login` or set HF_TOKEN"
WITHOUT_XET = "If a proxy bars Xet storage, set HF_HUB_DISABLE_XET=1"


@contextmanager
def hub_errors_for(endpoint: str, repo: str) -> Iterator[None]:
    """Around requests to a hub that speaks Hugging Face's protocol; HubError for whatever goes wrong with them."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    with _PROCESS.quiet_and_allowed():
        try:
            yield
        except HfHubHTTPError as error:
            raise _refusal(error, endpoint, repo) from error
        except HFValidationError as error:
            raise HubError("takes no such name", "A hub id is owner/name", permanent=True) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise _transport_error(error) from error
        except OSError as error:  # a token that cannot be read, an answer without its headers
            raise HubError(f"cannot be asked ({str(error)[:80]})") from error
        except ImportError as error:  # a SOCKS proxy, of which httpx speaks only with a package more
            raise HubError(f"cannot be reached ({error})", permanent=True) from error
        except ValueError as error:  # an address or a proxy that is none
            raise HubError(f"cannot be reached ({str(error)[:80]})", permanent=True) from error


def _refusal(error: Exception, endpoint: str, repo: str) -> HubError:
    """An HTTP status, by the library's finer classes first."""
    from huggingface_hub import errors

    assert isinstance(error, errors.HfHubHTTPError)
    if isinstance(error, errors.GatedRepoError):
        return HubError(
            "keeps it gated", f"Accept its terms on {host_of(endpoint)}/{repo}, then {_lower(LOG_IN)}", True
        )
    if isinstance(error, errors.DisabledRepoError):
        return HubError("has taken it down", permanent=True)
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError("no longer has the revision fetched first", "Ask for the newest (--update)", True)
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError("does not know it", f"Check its spelling; if it is private, {_lower(LOG_IN)}", True)
    status = error.response.status_code
    return status_error(status, LOG_IN if status in (401, 403) else "")


def _transport_error(error: Exception) -> HubError:
    """No connection, or one that ended early."""
    import httpx2

    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return HubError(f"cannot be reached ({str(error)[:80]})")
    if isinstance(error, httpx2.ProxyError):
        return HubError(f"cannot be reached through the proxy ({str(error)[:60]})", "Check HTTPS_PROXY")
    if isinstance(error, httpx2.TimeoutException):
        return HubError("was silent for too long", "HF_HUB_DOWNLOAD_TIMEOUT gives it more seconds")
    return HubError(f"dropped the connection ({type(error).__name__})")


def xet_error(error: OSError | RuntimeError) -> HubError:
    """What hf_xet raises: children of OSError for refusals and no connection, RuntimeError for what is its own fault."""
    text = str(error)
    refused = isinstance(error, PermissionError | FileNotFoundError) or "status client error" in text
    return HubError(f"fails to bring it from Xet storage ({text[:60]})", WITHOUT_XET, permanent=refused)


def _lower(advice: str) -> str:
    return advice[0].lower() + advice[1:]


class _ProcessState:
    """What huggingface_hub keeps for the whole process, set while any thread of ours is asking, and set back after.

    Its log goes to the screen (retries, "you are sending unauthenticated requests"), where our own progress is shown. And where
    HF_HUB_OFFLINE is set it refuses every request, also those of somebody who said `offline=False`; `fetch` heeds it before.
    """

    def __init__(self) -> None:
        self._lock, self._askers = threading.Lock(), 0
        self._before: tuple[int, bool] = (logging.WARNING, False)

    @contextmanager
    def quiet_and_allowed(self) -> Iterator[None]:
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        from huggingface_hub import constants
        from huggingface_hub.utils import logging as hub_logging

        with self._lock:
            if self._askers == 0:
                self._before = (hub_logging.get_verbosity(), constants.HF_HUB_OFFLINE)
                hub_logging.set_verbosity_error()
                constants.HF_HUB_OFFLINE = False
            self._askers += 1

    def _leave(self) -> None:
        from huggingface_hub import constants
        from huggingface_hub.utils import logging as hub_logging

        with self._lock:
            self._askers -= 1
            if self._askers == 0:
                hub_logging.set_verbosity(self._before[0])
                constants.HF_HUB_OFFLINE = self._before[1]


_PROCESS = _ProcessState()
