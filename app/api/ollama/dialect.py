"""Ollama's dialect: generation and chat as JSON lines, embeddings, and the model list."""

from __future__ import annotations

from typing import Any

from app.api.http.dialects import Dialect, PlainError
from app.api.ollama import chat, embeddings, generate, models, refusals
from app.errors import OstinatoError


def render_error(error: OstinatoError) -> tuple[int, dict[str, Any]]:
    """Render an error as `{"error": message}`, with the same status codes as Ollama."""
    return error.status, {"error": error.message}


DIALECT = Dialect(
    inference=(generate.router, chat.router, embeddings.router),
    management=(models.router, refusals.router),
    prefixes=("/api",),
    render_error=render_error,
    error_reply=PlainError,
    missing={"/api/blobs": f"files of models are not uploaded one by one; {refusals.IMPORT}"},
)
