"""Whether the Hugging Face hub can be reached, decided within a time limit even where a look-up or connection hangs."""

from __future__ import annotations

import http.client
import os
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_ENDPOINT = "https://huggingface.co"
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class HubState:
    """Whether the hub answers, and why not: a phrase that completes 'because …'. ``remedy``: the command to type."""

    reachable: bool
    why: str = ""
    remedy: str = field(default="", compare=False)


def hub_endpoint() -> str:
    """The hub's address; ``HF_ENDPOINT`` changes it."""
    return os.environ.get("HF_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")


def cached_file(repository: str, name: str, revision: str = "main") -> Path | None:
    """A file of a repository in the hub's cache on this machine, in the folder of its commit; None where it is not."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, name, revision=revision)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def check_hub(timeout_seconds: float) -> HubState:
    """Ask the hub for an answer, any answer, within ``timeout_seconds``.

    The question runs in a thread of its own: no timeout of a socket covers a name look-up that hangs.
    """
    for variable in OFFLINE_VARIABLES:
        if os.environ.get(variable, "").upper() in {"1", "ON", "YES", "TRUE"}:
            return HubState(False, f"{variable} is set", f"unset {variable}")
    answer: list[HubState] = []
    asking = threading.Thread(target=lambda: answer.append(_ask(timeout_seconds)), daemon=True)
    asking.start()
    asking.join(timeout_seconds)
    return answer[0] if answer else _unreachable(f"{hub_endpoint()} did not answer within {timeout_seconds:g} s")


def _unreachable(why: str) -> HubState:
    return HubState(False, why, f"curl -I {hub_endpoint()}")


def _ask(timeout_seconds: float) -> HubState:
    if not hub_endpoint().startswith(("http://", "https://")):
        return HubState(False, f"HF_ENDPOINT={hub_endpoint()} is no web address")
    try:
        request = urllib.request.Request(hub_endpoint(), method="HEAD")  # noqa: S310 (scheme checked above)
        urllib.request.urlopen(request, timeout=timeout_seconds).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        # 4xx is an answer of the hub itself; a proxy that refuses answers 403 or 407, a broken hub 5xx.
        if error.code in {403, 407} or error.code >= 500:
            return _unreachable(f"{hub_endpoint()} answered {error.code}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _unreachable(f"{hub_endpoint()} cannot be reached ({getattr(error, 'reason', error)})")
    return HubState(True)
