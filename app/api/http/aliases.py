"""Loads a version before a required alias is moved to it."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool

from app.api.http.services import Services


async def load_if_required(
    services: Services, principal: str, name: str, alias: str, version: int, required: bool | None = None
) -> bool:
    """Load the version and run it once if the alias is or becomes required, so that the service stays ready.

    `required` is the new setting of the alias, or None to keep its current setting. Returns whether the version was
    loaded. Raises the same error as a request for the version.
    """
    if required is None:
        others = await run_in_threadpool(services.registry.required_aliases)
        required = any((other.model, other.alias) == (name, alias) for other in others)
    if required:
        await services.readiness.prove(f"{name}:{version}", principal)
    return required
