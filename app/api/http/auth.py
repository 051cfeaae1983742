"""Who asks. Knows keys and the public routes; knows nothing of what a principal may see.

Keys are kept as SHA-256 and compared in constant time, all of them, whichever matches.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.http.errors import send_error
from app.binding import is_loopback
from app.errors import Forbidden, Unauthorized
from app.registry.records import LOCAL
from app.settings import Settings

ASSETS = (
    "/docs/swagger-ui-bundle.js",
    "/docs/swagger-ui.css",
    "/docs/favicon.png",
    "/docs/start.js",
    "/redoc/redoc.standalone.js",
)
HEALTH = frozenset(("/livez", "/readyz", "/health", "/v2/health/live", "/v2/health/ready"))
PUBLIC = HEALTH | frozenset(("/docs", "/redoc", "/openapi.json", *ASSETS))
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def principal_of(request: Request) -> str:
    """The name of the key that was sent; `local` where no keys are configured."""
    name: str = request.scope.get("principal", LOCAL)
    return name


async def _principal(request: Request) -> str:
    """A plain function would be called in a thread, and wait for one where blocking routes have taken all."""
    return principal_of(request)


Principal = Annotated[str, Depends(_principal)]


class Keys:
    def __init__(self, principals: dict[str, str]) -> None:
        """`principals`: name by secret."""
        self._names = [(_hash(secret), name) for secret, name in principals.items()]

    def __bool__(self) -> bool:
        return bool(self._names)

    def principal(self, header: bytes | None) -> str | None:
        """Whose key an Authorization header holds."""
        scheme, _, secret = (header or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        sent, found = hashlib.sha256(secret.strip()).digest(), None
        for known, name in self._names:
            if hmac.compare_digest(known, sent):
                found = name
        return found


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


class Authentication:
    """ASGI: names the principal of every request, or refuses it. In front of all routes, known and unknown."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.keys = Keys(settings.keys)
        self.host = settings.host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = scope["headers"]
        if not self.keys:
            scope["principal"] = LOCAL
        else:
            found = self.keys.principal(_header(headers, b"authorization"))
            if found is None and scope["path"] not in PUBLIC:
                await send_error(scope, send, Unauthorized("an API key is needed: Authorization: Bearer <secret>"))
                return
            scope["principal"] = found or ""
        if (refusal := self._cross_site(scope["method"], scope["path"], headers)) is not None:
            await send_error(scope, send, refusal)
            return
        await self.app(scope, receive, send)

    def _cross_site(self, method: str, path: str, headers: list[tuple[bytes, bytes]]) -> Forbidden | None:
        """A web page elsewhere must not use a service on this machine through its visitor's browser.

        A page can bend its own name to this machine's address (DNS rebinding) and is then asked for as its own site:
        so the name counts for every method. For methods that change nothing the page of another site is told nothing.
        """
        origin = _header(headers, b"origin")
        host = _header(headers, b"host") or b""
        if method not in SAFE_METHODS and origin is not None and origin.partition(b"://")[2] != host:
            return Forbidden("requests from other web sites are refused (the Origin header is not this service)")
        if not self.keys and path not in HEALTH and not self._own_name(host.decode("latin-1")):
            return Forbidden("the Host header names no address of this machine (without keys only those are served)")
        return None

    def _own_name(self, host: str) -> bool:
        """A name without a dot is nobody's on the Internet, so no foreign name can be bent to us with it."""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        return name in ("", self.host) or "." not in name.strip(".") or is_loopback(name)


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    for key, value in headers:
        if key == name:
            return value
    return None
