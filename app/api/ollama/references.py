"""Ollama's model names. A name with the tag `:latest` is equivalent to the name alone."""

from __future__ import annotations

from fastapi import Request

from app.api.http.caller import LATEST, Caller

CURL = ("application/x-www-form-urlencoded",)  # the type that `curl -d` sends, as in Ollama's examples


def caller_of(request: Request, model: str) -> Caller:
    """Return the caller of a request for `model`. Raises InvalidRequest as `Caller.read` does."""
    return Caller.read(request, model.removesuffix(LATEST))
