"""Authentication: API keys, public routes, and protection against cross-site requests."""

from __future__ import annotations

import hashlib
import hmac
import logging
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app import access
from app.api.http import scopes
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
HEALTH = frozenset(("/livez", "/ping", "/readyz", "/health", "/v2/health/live", "/v2/health/ready"))
PUBLIC = HEALTH | frozenset(("/docs", "/redoc", "/openapi.json", *ASSETS))
log = logging.getLogger(__name__)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def principal_of(request: Request) -> str:
    """The name of the API key that the request was sent with, or `local` if no keys are configured."""
    name: str = request.scope.get("principal", LOCAL)
    return name


def is_operator(request: Request) -> bool:
    """Whether the request may do what concerns all users of the service. Without keys, every request may."""
    return bool(request.scope.get("is_operator", True))


async def _principal(request: Request) -> str:
    # This is `async` because FastAPI calls a plain function in a worker thread. If blocking routes occupied all worker
    # threads, this dependency would have to wait for a free thread.
    return principal_of(request)


Principal = Annotated[str, Depends(_principal)]


class Keys:
    """The API keys, stored as SHA-256 digests so that the secrets are not kept in memory."""

    def __init__(self, principals: dict[str, str]) -> None:
        """`principals` maps each secret to the name of its principal."""
        self._names = [(_hash(secret), name) for secret, name in principals.items()]

    def __bool__(self) -> bool:
        return bool(self._names)

    def principal(self, header: bytes | None) -> str | None:
        """The name of the principal whose key is in the Authorization header, or None if there is no valid key."""
        scheme, _, secret = (header or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        sent, principal = hashlib.sha256(secret.strip()).digest(), None
        # Every key is compared, in constant time, so that the duration reveals neither a secret nor its position.
        for digest, name in self._names:
            if hmac.compare_digest(digest, sent):
                principal = name
        return principal


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


class Authentication:
    """ASGI middleware that stores the principal in the scope, or rejects the request.

    The middleware runs before routing, so requests for unknown paths need a key too.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.keys = Keys(settings.keys)
        self.scopes = settings.scopes
        self.host = settings.host
        if self.keys and not settings.key_scopes:
            log.info("every API key may send every request; OSTINATO_KEY_SCOPES limits what a key may do")
        self.origins = frozenset(settings.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = scope["headers"]
        if not self.keys:
            scope["principal"] = LOCAL
        else:
            principal = self.keys.principal(_header(headers, b"authorization"))
            if principal is None and scope["path"] not in PUBLIC:
                await send_error(scope, send, Unauthorized(_complaint(_header(headers, b"authorization"))))
                return
            scope["principal"] = principal or ""
            scope["is_operator"] = access.OPERATOR in self.scopes.get(principal or "", ())
            if principal is not None and (lack := self._lack(principal, scope)) is not None:
                await send_error(scope, send, lack)
                return
        if (refusal := self._cross_site(scope["method"], scope["path"], headers)) is not None:
            await send_error(scope, send, refusal)
            return
        await self.app(scope, receive, send)

    def _lack(self, principal: str, scope: Scope) -> Forbidden | None:
        """Return an error if the key of the principal lacks the scope that the request needs, otherwise None."""
        try:
            if scope["path"] not in PUBLIC:
                scopes.check(self.scopes[principal], scope["method"], scope["path"])
        except scopes.MissingScope as error:
            return error
        return None

    def _cross_site(self, method: str, path: str, headers: list[tuple[bytes, bytes]]) -> Forbidden | None:
        """Return an error if the request was sent by a page of another web site, otherwise None.

        Requests from the origins in the setting `allowed_origins` are accepted. The origin is not checked for methods
        that change nothing: without CORS headers, the browser withholds the reply from the page. If no keys are
        configured, the Host header is checked for every method to prevent DNS rebinding: if the domain of a malicious
        page resolves to this machine, the Origin and Host headers of its requests agree and pass the origin check.
        """
        origin = _header(headers, b"origin")
        host = _header(headers, b"host") or b""
        foreign = origin is not None and origin.partition(b"://")[2] != host and not self._allowed(origin)
        if method not in SAFE_METHODS and foreign:
            return Forbidden("requests from other web sites are rejected: the Origin header names another host")
        if not self.keys and path not in HEALTH and not self._own_name(host.decode("latin-1")):
            return Forbidden("the Host header must name this machine, because no API keys are configured")
        return None

    def _allowed(self, origin: bytes) -> bool:
        return "*" in self.origins or origin.decode("latin-1") in self.origins

    def _own_name(self, host: str) -> bool:
        """Whether a Host header names this machine. A name without a dot cannot be registered, so it is accepted."""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        return name in ("", self.host) or "." not in name.strip(".") or is_loopback(name)


def _complaint(header: bytes | None) -> str:
    """Return the error message for an Authorization header without a valid key."""
    scheme, _, secret = (header or b"").partition(b" ")
    if scheme.lower() == b"bearer" and secret.strip():
        return "the API key is unknown: check the secret after Authorization: Bearer"
    return "an API key is required: send the header Authorization: Bearer <secret>"


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    for key, value in headers:
        if key == name:
            return value
    return None
