"""SEC-16: a key can do only what its scopes allow, and no key without the operator scope makes the service unready."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from app.access import SCOPES
from app.api.http.auth import PUBLIC
from app.api.http.scopes import MissingScope, is_audited, needed
from app.settings import Settings
from tests.api.rendered import is_rendered
from tests.fakes import FakeEngine
from tests.security.attacks import MODELS, checkpoint, code, upload
from tests.serving import Api, Shelf

SECRETS = {scope: f"secret-of-{scope}" for scope in SCOPES}
ALIAS = f"{MODELS}/mood/aliases/live"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    keys = ",".join(f"{scope}:{secret}" for scope, secret in SECRETS.items())
    scopes = ",".join(f"{scope}:{scope}" for scope in SCOPES)
    return msgspec.structs.replace(settings, database_url=url, api_keys=keys, key_scopes=scopes)


@pytest.fixture
def clients(api: Api) -> Iterator[dict[str, httpx.Client]]:
    clients = {scope: api.client(secret) for scope, secret in SECRETS.items()}
    yield clients
    for client in clients.values():
        client.close()


def test_every_route_answers_the_keys_of_its_scope_only(clients: dict[str, httpx.Client]) -> None:
    document = clients["infer"].get("/openapi.json", timeout=60).json()
    routes = [
        (m.upper(), re.sub(r"{[^}]*}", "x", path)) for path, methods in document["paths"].items() for m in methods
    ]
    assert len(routes) > 30
    for method, path in routes:
        for scope, client in clients.items():
            wanted = needed(method, path)
            allowed = path in PUBLIC or wanted in (None, scope) or scope == "operator"
            reply = client.request(method, path)
            assert (reply.status_code == 403) != allowed, (method, path, scope, reply.text)
            if not allowed:
                assert is_rendered(reply, MissingScope), (method, path, scope, reply.text)


@pytest.mark.parametrize(("before", "after"), [("x", "x"), ("x%0A", "x\n")])
def test_a_line_feed_in_a_path_evades_no_rule(clients: dict[str, httpx.Client], before: str, after: str) -> None:
    document = clients["infer"].get("/openapi.json", timeout=60).json()
    routes = [(m.upper(), path) for path, methods in document["paths"].items() for m in methods]
    assert len(routes) > 30
    for method, path in routes:
        wanted = needed(method, re.sub(r"{[^}]*}", "x", path))
        assert needed(method, re.sub(r"{[^}]*}", after, path) + "\n") == wanted, (method, path)
        if path not in PUBLIC and wanted not in (None, "infer"):
            sent = re.sub(r"{[^}]*}", before, path)
            reply = clients["infer"].request(method, f"{sent}%0A")
            assert is_rendered(reply, MissingScope), (method, sent, reply.text)
            assert is_audited(method, f"{path}\n") == is_audited(method, path)


def test_only_an_operator_marks_an_alias_as_required(clients: dict[str, httpx.Client], shelf: Shelf) -> None:
    shelf.classifier(owner="registry")
    reply = clients["registry"].put(ALIAS, json={"version": 1, "required": True})
    assert (reply.status_code, code(reply)) == (403, "missing_scope")
    assert clients["registry"].put(ALIAS, json={"version": 1}).json()["required"] is False


def test_a_version_that_cannot_load_is_never_required(
    api: Api, clients: dict[str, httpx.Client], shelf: Shelf, engine: FakeEngine, tmp_path: Path
) -> None:
    """Marking its alias, moving a required alias to it, and importing it with such an alias are all refused."""
    operator = clients["operator"]
    shelf.classifier(owner="operator")
    assert operator.put(ALIAS, json={"version": 1, "required": True}).status_code == 200
    shelf.classifier(owner="operator")
    engine.refuse_loads = ("out_of_memory", "there is not enough memory")
    for body in ({"version": 2}, {"version": 2, "required": True}):
        assert operator.put(ALIAS, json=body).json()["error"]["code"] == "out_of_memory"
    operator.headers["x-request-timeout-ms"] = "20000"
    folder = checkpoint(tmp_path / "checkpoint")
    assert upload(operator, folder).status_code == 200
    refused = upload(operator, folder, alias="live")
    assert (refused.status_code, code(refused)) == (400, "version_not_loaded")
    assert operator.get(f"{MODELS}/mood").json()["aliases"] == {"live": 1}
    assert api.services.readiness.report().ready
