"""Spot notices: AWS tells an instance two minutes ahead, in its metadata, that it takes it back.

    notice = SpotWatcher().notice()     # None, or what AWS says; ask every 5 s

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

ENDPOINT = "http://169.254.169.254"
TOKEN_SECONDS = 21_600  # the longest that there is
TIMEOUT_SECONDS = 2.0
POLL_SECONDS = 5.0  # what AWS recommends


@dataclass(frozen=True)
class Notice:
    """``action``: terminate, stop or hibernate. ``at``: ISO 8601."""

    action: str
    at: str

    def __str__(self) -> str:
        return f"AWS takes this spot instance back ({self.action} at {self.at or 'any moment'})"


class SpotWatcher:
    """Asks the instance metadata, version 2. Never raises: no answer is no notice."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._disabled = environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
        address = urlsplit(environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or ENDPOINT)
        self._host, self._port, self._path = address.hostname or "", address.port or 80, address.path.rstrip("/")
        self._token = ""

    def notice(self) -> Notice | None:
        """What AWS has announced; None if nothing."""
        if self._disabled:
            return None
        status, content = self._get("/latest/meta-data/spot/instance-action")
        if status == 401:  # the token has run out
            self._token = ""
            status, content = self._get("/latest/meta-data/spot/instance-action")
        if status != 200:
            return None
        try:
            found = json.loads(content)
            return Notice(str(found["action"]), str(found.get("time", "")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def _get(self, path: str) -> tuple[int, bytes]:
        if not self._token:
            status, content = self._ask(
                "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
            )
            if status != 200:
                return 0, b""
            self._token = content.decode(errors="replace")
        return self._ask("GET", path, {"X-aws-ec2-metadata-token": self._token})

    def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body; 0 if nobody answers. Straight to the host: metadata is never behind a proxy."""
        line = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            line.request(method, self._path + path, headers=dict(headers))
            answer = line.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            line.close()
