"""The packages that exporting and serving an export need; both are in requirements.txt."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

PACKAGES = ("openvino", "openvino-genai")
INSTALL = "pip install openvino-genai==2026.4.1.0"


def missing_package() -> str | None:
    """The first that is not installed; None if all are there. Nothing is imported."""
    return next((name for name in PACKAGES if find_spec(name.replace("-", "_")) is None), None)


def package_versions() -> dict[str, str]:
    """By name; without those that pip does not know."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
