"""TLS in front of a page: Caddy fetches a certificate for the domain and passes on what comes in.

Needs ports 80 and 443 open to everybody (the certificate's issuer calls) and an A record of the domain.
"""

from __future__ import annotations

import re
import shlex

from utils.errors import UsageError

# Lower-case letters, digits and hyphens (RFC 1123), at least two labels, a top-level one that is no number.
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = re.compile(rf"(?:{LABEL}\.)+(?:[a-z]{{2,63}}|xn--[a-z0-9-]{{1,58}}[a-z0-9])")
LONGEST_DOMAIN = 253
WITHOUT_CERTIFICATE = (".amazonaws.com", ".local", ".internal", ".localhost", ".test", ".example", ".invalid", ".lan")
HSTS_SECONDS = 31_536_000  # a year


def caddy_commands(domain: str, port: int) -> list[str]:
    """Shell lines that install the distribution's Caddy (Ubuntu: universe) and put it in front of ``port``.

    Each may be run again. Raises UsageError: the domain cannot have a certificate.
    """
    return [
        # A new machine may still be updating its own lists; without any, the installation says so.
        "for attempt in 1 2 3 4 5 6; do sudo apt-get -q update && break; sleep 10; done",
        "sudo DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=240 install caddy",
        f"printf %s {shlex.quote(caddy_file(domain, port))} | sudo tee /etc/caddy/Caddyfile > /dev/null",
        "sudo caddy validate --config /etc/caddy/Caddyfile --adapter caddyfile",
        "sudo systemctl enable caddy",
        "sudo systemctl restart caddy",
    ]


def caddy_file(domain: str, port: int) -> str:
    """The Caddyfile. Raises UsageError."""
    lines = [
        f"{check_domain(domain)} {{",
        f'\theader Strict-Transport-Security "max-age={HSTS_SECONDS}"',
        f"\treverse_proxy 127.0.0.1:{int(port)}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def check_domain(domain: str) -> str:
    """The domain itself, if it is one that a certificate can be had for. Raises UsageError."""
    good = len(domain) <= LONGEST_DOMAIN and DOMAIN.fullmatch(domain)
    if good and not domain.endswith(WITHOUT_CERTIFICATE):
        return domain
    why = "no public certificate is given for it" if good else "that is not the name of one in small letters"
    raise UsageError(
        f"{domain[:80]!r} cannot be the domain of a page: {why}.",
        instead="One looks like talk.example.org; other letters in their xn-- form.",
        remedies=[("Go without", "python deploy_aws.py deploy-gradio")],
    )
