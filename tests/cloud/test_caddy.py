"""Caddy in front of a page: what it is told, and names that would tell it something else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from aws.operations.caddy import caddy_commands, caddy_file, check_domain
from utils.errors import UsageError


def test_the_caddyfile() -> None:
    assert caddy_file("talk.example.org", 7860) == (
        'talk.example.org {\n\theader Strict-Transport-Security "max-age=31536000"\n\treverse_proxy 127.0.0.1:7860\n}\n'
    )


def test_the_shell_writes_the_file_as_it_is(tmp_path: Path) -> None:
    (line,) = [each for each in caddy_commands("talk.example.org", 7860) if "tee" in each]
    line = line.replace("/etc/caddy/Caddyfile", str(tmp_path / "Caddyfile")).replace("sudo ", "")
    subprocess.run(["sh", "-c", line], check=True)
    assert (tmp_path / "Caddyfile").read_text() == caddy_file("talk.example.org", 7860)


def test_every_line_is_one_that_a_shell_understands() -> None:
    for line in caddy_commands("talk.example.org", 7860):
        subprocess.run(["sh", "-n", "-c", line], check=True)


@pytest.mark.skipif(shutil.which("caddy") is None, reason="no caddy on this machine")
def test_caddy_takes_it(tmp_path: Path) -> None:
    file = tmp_path / "Caddyfile"
    file.write_text(caddy_file("talk.example.org", 7860))
    subprocess.run(["caddy", "adapt", "--config", str(file), "--adapter", "caddyfile"], check=True, capture_output=True)


@pytest.mark.parametrize(
    "domain", ["talk.example.org", "a.io", "xn--bcher-kva.example.com", "1.a-b.c2.museum", "a.xn--p1ai"]
)
def test_names_that_can_have_a_certificate(domain: str) -> None:
    assert check_domain(domain) == domain


@pytest.mark.parametrize(
    "domain",
    [
        "", "localhost", "127.0.0.1", "::1", "Talk.example.org", "bücher.example.org", "a_b.example.org",
        "-a.example.org", "a-.example.org", "a..example.org", "example.org.", "*.example.org", "example.org:443",
        "https://example.org", "a.org b.org", "a.org,b.org", "a.org\n", "a.org {\nrespond hi\n}", "a.org'; reboot; '",
        "$(reboot).org", "`x`.org", "{$HOME}.org", "a.org#", "a" * 64 + ".org", "a." * 126 + "org",
        "ec2-1-2-3-4.compute-1.amazonaws.com", "x.local",
    ],
)  # fmt: skip
def test_names_that_cannot_and_those_that_would_say_more(domain: str) -> None:
    with pytest.raises(UsageError, match="cannot be the domain of a page") as caught:
        caddy_commands(domain, 7860)
    assert "talk.example.org" in str(caught.value)
    assert "\n" not in caught.value.what
