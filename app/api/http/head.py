"""Answers HEAD requests on every GET route: sends the headers that a GET request would return, and no body."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _HeadersSent(Exception):
    """Raised to stop building a reply once its headers have been sent."""


async def as_get(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Pass a HEAD request to `app` as a GET request. The reply ends after its headers, so no file content is read."""
    done = False

    async def send_headers(message: Message) -> None:
        nonlocal done
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            done = True
        raise _HeadersSent

    inner = {**scope, "method": "GET"}
    try:
        await app(inner, receive, send_headers)
    except Exception:  # _HeadersSent, or an exception into which the route has converted it
        if not done:
            raise
    finally:
        scope.update({key: inner[key] for key in ("route", "principal") if key in inner})  # for the access log
