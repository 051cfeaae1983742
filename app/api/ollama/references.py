"""Ollama's model names, whose tag `:latest` means the version that the name alone means."""

from __future__ import annotations

from fastapi import Request

from app.api.http.caller import Caller

LATEST = ":latest"
CURL = ("application/x-www-form-urlencoded",)  # the type that `curl -d` sends, as in Ollama's examples


def caller_of(request: Request, model: str) -> Caller:
    """The caller of a request for `model`. Raises InvalidRequest."""
    return Caller.read(request, model.removesuffix(LATEST))
