"""Determines which API key scope a request needs, from its method and path."""

from __future__ import annotations

import re
from collections.abc import Collection

from app.access import INFER, OPERATOR, REGISTRY, TRAIN
from app.errors import Forbidden

READS = ("GET", "HEAD", "OPTIONS")
PLAIN_READS = ("/version", "/api/version", "/api/tags")


def _rule(expression: str) -> re.Pattern[str]:
    # A parameter of a path may contain a line feed, which a dot matches only with this flag.
    return re.compile(expression, re.DOTALL)


# The first rule whose expression matches the method and the path applies. Without such a rule, a request runs a model.
RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (_rule(r"\w+ /v1/(fine_tuning|files|uploads|queue|webhook_endpoints|webhook_event_types)(/.*)?"), TRAIN),
    (_rule(r"\w+ (/metrics|/v1/engine|/v1/audit|/v1/settings)"), OPERATOR),
    (_rule(r"\w+ /v1/(registry|models)(/.*)?|\w+ /models|(?!POST)\w+ /models/.*"), REGISTRY),
    (_rule(r"POST /v2/repository/models/.*/unload"), REGISTRY),
    (_rule(r"\w+ (/v2(/.*)?|/v1/(evaluations|batches|traffic)(/.*)?|/version|/api/\w+|/)"), INFER),
)


class MissingScope(Forbidden):
    """The API key lacks the scope that the route needs."""

    code = "missing_scope"


def needed(method: str, path: str) -> str | None:
    """Return the scope that a request needs, or None if every key may send it, for example to read models."""
    path = path.removesuffix("\n")  # routing ignores a final line feed too: its expressions end with `$`
    scope = next((scope for pattern, scope in RULES if pattern.fullmatch(f"{method} {path}")), INFER)
    if method in READS and (scope == REGISTRY or path in PLAIN_READS):
        return None
    return scope


def is_audited(method: str, path: str) -> bool:
    """Whether the audit log records changes that are made by requests with this method and path.

    The log records changes to models, aliases, files, jobs, evaluations, batches and webhook endpoints.
    """
    return needed(method, path) in (TRAIN, REGISTRY) or path.startswith(("/v1/evaluations", "/v1/batches"))


def check(scopes: Collection[str], method: str, path: str) -> None:
    """Raise MissingScope unless a key with these scopes may send the request. Operators may send every request."""
    scope = needed(method, path)
    if scope is not None and scope not in scopes and OPERATOR not in scopes:
        raise MissingScope(f"this API key lacks the scope {scope}, which the route requires; see OSTINATO_KEY_SCOPES")
