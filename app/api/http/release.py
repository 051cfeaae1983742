"""The release of the service."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def release() -> str:
    """Return the version of the installed package, or 0 if the source tree is run without being installed."""
    try:
        return version("ostinato")
    except PackageNotFoundError:
        return "0"
