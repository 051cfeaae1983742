"""Converts the names and version numbers in the protocol's paths to model references."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from fastapi import Request
from starlette.responses import Response

from app.errors import NotFound
from app.registry.records import ModelReference, show

NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def reference_of(name: str, version: str) -> str:
    """The reference to the model in a path, including `version` if it is set. Raises NotFound or InvalidRequest."""
    if not version:
        return name
    reference = ModelReference.parse(name)
    if str(reference) != reference.name:
        raise NotFound(f"{show(name)} already includes a version; leave out {show(version)}", code="version_not_found")
    if not NUMBER.fullmatch(version):
        raise NotFound(f"there is no version {show(version)}; versions are numbers", code="version_not_found")
    return f"{name}:{version}"


def unversioned(
    endpoint: Callable[[Request, str, str], Awaitable[Response]],
) -> Callable[[Request, str], Awaitable[Response]]:
    """Return the endpoint for a path without a version, given the endpoint for the path with a version."""

    async def call(request: Request, name: str) -> Response:
        return await endpoint(request, name, "")

    call.__doc__ = endpoint.__doc__
    return call
