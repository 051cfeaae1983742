"""Which scope each request needs."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute

from app.access import INFER, OPERATOR, REGISTRY, SCOPES, TRAIN
from app.api.application import DIALECTS
from app.api.http.auth import is_public
from app.api.http.scopes import RULES, MissingScope, check, needed


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/classify", INFER),
        ("POST", "/tokenize", INFER),
        ("POST", "/any/later/dialect", INFER),
        ("GET", "/any/later/dialect", INFER),
        ("POST", "/v1/files", TRAIN),
        ("GET", "/v1/fine_tuning/jobs", TRAIN),
        ("POST", "/v1/uploads/x/parts", TRAIN),
        ("GET", "/v1/registry/models", None),
        ("GET", "/v1/models", None),
        ("HEAD", "/v1/models/x", None),
        ("GET", "/version", None),
        ("DELETE", "/v1/models/x", REGISTRY),
        ("PUT", "/v1/registry/models/x/aliases/y", REGISTRY),
        ("POST", "/v1/registry/models/x/versions", REGISTRY),
        ("GET", "/metrics", OPERATOR),
        ("GET", "/v1/engine", OPERATOR),
        ("GET", "/models", None),
        ("POST", "/v2/models/x/infer", INFER),
        ("POST", "/v2/repository/models/x/load", INFER),
        ("POST", "/v2/repository/models/x/unload", REGISTRY),
        ("GET", "/models/x/1", None),
        ("PUT", "/models/x/1/set-default", REGISTRY),
        ("POST", "/models", REGISTRY),
        ("POST", "/models/x", INFER),
        ("GET", "/api/tags", None),
        ("GET", "/api/ps", INFER),
    ],
)
def test_the_scope_of_a_request(method: str, path: str, scope: str | None) -> None:
    assert needed(method, path) == scope


def test_every_route_that_does_not_run_a_model_has_a_rule() -> None:
    """Without a rule, every key that may run models could use the route."""
    for dialect in DIALECTS:
        for route in (route for router in dialect.management for route in router.routes if isinstance(route, APIRoute)):
            path = re.sub(r"{[^}]*}", "x", route.path)
            has_rule = is_public("GET", path) or any(
                pattern.fullmatch(f"{method} {path}") for pattern, _ in RULES for method in route.methods
            )
            assert has_rule, f"{route.path} needs a rule in app/api/http/scopes.py"


def test_an_operator_may_do_everything_and_a_key_without_scopes_only_reads() -> None:
    check([], "GET", "/v1/models")
    for scope in SCOPES:
        check([OPERATOR], "POST", f"/{scope}")
    with pytest.raises(MissingScope, match="infer"):
        check([TRAIN, REGISTRY], "POST", "/v1/classify")
