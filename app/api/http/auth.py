"""Authentication: API keys, public routes, and protection against cross-site requests."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from app import access
from app.api.http import scopes
from app.api.http.headers import index_of
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
# Routes for programs that monitor the service: they do not need a key, are answered even if the service accepts no more
# connections, and are logged at debug level only.
HEALTH = frozenset(("/livez", "/ping", "/readyz", "/health", "/v2/health/live", "/v2/health/ready"))
PUBLIC = HEALTH | frozenset(("/docs", "/redoc", "/openapi.json", *ASSETS))
CONSOLE = "/console/"  # the prefix of the console's scripts and styles
log = logging.getLogger(__name__)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def is_public(method: str, path: str) -> bool:
    """Whether a request may be sent without a key.

    For the console, only GET and HEAD requests are public, because `POST /` may run a model.
    """
    return path in PUBLIC or (method in ("GET", "HEAD") and (path == "/" or path.startswith(CONSOLE)))


def principal_of(request: Request) -> str:
    """The name of the API key that the request was sent with, or `local` if no keys are configured."""
    name: str = request.scope.get("principal", LOCAL)
    return name


def is_operator(request: Request) -> bool:
    """Whether the request may perform operations that affect all users.

    If no keys are configured, every request may perform such operations.
    """
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

    def name_before(self, secret: bytes) -> str:
        """The name if `secret` is a key with its name in front, as `ostinato keys` prints it, or else "".

        Tells nothing about a secret that is not complete and correct.
        """
        name, _, rest = secret.strip().partition(b":")
        owner = self.principal(b"Bearer " + rest)
        return owner if owner is not None and owner.encode() == name else ""


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


class Authentication:
    """Identifies the sender of a request. Rejects requests without a valid key, and requests from other web sites.

    Authentication happens before routing, so requests for unknown paths also need a key.
    """

    def __init__(self, settings: Settings) -> None:
        self.keys = Keys(settings.keys)
        self.scopes = settings.scopes
        self.host = settings.host
        if self.keys and not settings.key_scopes:
            log.info("every API key may send every request; to limit what a key may do, set OSTINATO_KEY_SCOPES")
        self.origins = frozenset(settings.origins)

    def principal(self, scope: Scope) -> str:
        """The principal of a request.

        If keys are configured, the principal is empty for a request that is sent to a public route without a key. Also
        records in the scope whether the principal is an operator. Raises Unauthorized or Forbidden.
        """
        headers = index_of(scope)
        principal: str | None = LOCAL
        if self.keys:
            principal = self.keys.principal(headers.get(b"authorization"))
            self._check_key(principal, scope, headers)
        self._check_site(scope["method"], headers)
        return principal or ""

    def _check_key(self, principal: str | None, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Raise Unauthorized if there is no valid key, or Forbidden if the key lacks the scope that the request needs.

        Requests to public routes are accepted without a key. Also records whether the principal is an operator.
        """
        scope["is_operator"] = access.OPERATOR in self.scopes.get(principal or "", ())
        if is_public(scope["method"], scope["path"]):
            return
        if principal is None:
            raise Unauthorized(self._complaint(headers.get(b"authorization")))
        scopes.check(self.scopes[principal], scope["method"], scope["path"])

    def _check_site(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        """Raise Forbidden if the request was sent by a page on another web site.

        Requests from the origins in the `allowed_origins` setting are accepted. The origin is not checked for methods
        that change nothing, because the browser does not let the page read the reply without CORS headers. If no keys
        are configured, the Host header is checked for every method. The check prevents DNS rebinding attacks, in which
        a malicious page's domain resolves to this machine, so that the Origin and Host headers agree and the origin
        check passes.
        """
        origin, host = headers.get(b"origin"), headers.get(b"host", b"")
        foreign = origin is not None and origin.partition(b"://")[2] != host and not self._allowed(origin)
        if foreign and method not in SAFE_METHODS:
            raise Forbidden("requests from other web sites are rejected: the Origin header contains another host")
        if not self.keys and not self._own_name(host.decode("latin-1")):
            raise Forbidden("the Host header must name this machine, because no API keys are configured")

    def _allowed(self, origin: bytes) -> bool:
        return "*" in self.origins or origin.decode("latin-1") in self.origins

    def _own_name(self, host: str) -> bool:
        """Whether a Host header names this machine. A name without a dot is not a public domain, so it is accepted."""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        return name in ("", self.host) or "." not in name.strip(".") or is_loopback(name)

    def _complaint(self, header: bytes | None) -> str:
        """Return the error message for an Authorization header without a valid key."""
        scheme, _, secret = (header or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not secret.strip():
            return "an API key is required: send the header Authorization: Bearer <secret>"
        if name := self.keys.name_before(secret):
            return f"the API key begins with its name: leave out '{name}:', and send only the secret after it"
        return "the API key is unknown: check the secret in the header Authorization: Bearer <secret>"
