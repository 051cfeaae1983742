"""Converts the names and version numbers in TorchServe's paths to model references."""

from __future__ import annotations

import re

from app.errors import NotFound
from app.registry.records import ModelReference, show

NUMBER = re.compile(r"([1-9][0-9]{0,8})(\.0)?")  # TorchServe's versions look like 1.0


def version_number(text: str) -> int:
    """Parse a version number, such as `3` or `3.0`. Raises NotFound."""
    match = NUMBER.fullmatch(text)
    if match is None:
        raise NotFound(f"there is no version {show(text)}; versions are numbers, such as 1", code="version_not_found")
    return int(match[1])


def reference_of(name: str, version: str | None) -> str:
    """The model reference for the model and the optional version in a path. Raises NotFound or InvalidRequest."""
    if version is None:
        return name
    reference = ModelReference.parse(name)
    if str(reference) != reference.name:
        raise NotFound(f"{show(name)} already includes a version; leave out {show(version)}", code="version_not_found")
    return f"{name}:{version_number(version)}"
