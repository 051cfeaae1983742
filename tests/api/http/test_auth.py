"""API keys, owners, and protection from other web sites."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import update

from app.api.http.auth import HEALTH, PUBLIC, Keys
from app.db.tables import VersionRow
from app.errors import Unauthorized
from app.settings import Settings
from tests.api.rendered import is_rendered
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, wait_until

ALICE, BOB = "alice-secret-1", "bob-secret-22"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, api_keys=f"alice:{ALICE},bob:{BOB}")


@pytest.fixture
def guarded(settings: Settings, engine: FakeEngine) -> Iterator[Api]:
    with Api(settings) as running:
        running.wait_ready()
        yield running


def test_every_route_but_the_public_ones_needs_a_key(guarded: Api) -> None:
    with guarded.client() as client, guarded.client(ALICE) as alice, guarded.client("wrong-secret") as wrong:
        document = client.get("/openapi.json", timeout=60).json()
        routes = [(m.upper(), path) for path, methods in document["paths"].items() for m in methods]
        assert len(routes) > 20
        for method, path in routes:
            concrete = re.sub(r"{[^}]*}", "x", path)
            for stranger in (client, wrong):
                reply = stranger.request(method, concrete)
                if concrete in PUBLIC:
                    assert reply.status_code != 401, (method, path)
                else:
                    assert reply.status_code == 401, (method, path, reply.text)
                    assert reply.headers["www-authenticate"] == "Bearer"
                    assert is_rendered(reply, Unauthorized), (method, path, reply.text)
            assert alice.request(method, concrete).status_code != 401


def test_no_path_or_method_avoids_the_key(guarded: Api) -> None:
    paths = [
        "/v1/models/", "//v1/models", "/v1//models", "/V1/models", "/docs/../v1/models", "/livez/../v1/models",
        "/livez/", "/docs/x", "/v1/models%2f", "/readyz;/../v1/models", "/metrics", "/invocations", "/tokenize",
        "/%2e%2e/v1/models", "/v2/health/live/x", "/nothing", "/console", "/%2e/console/../v1/models",
    ]  # fmt: skip
    with guarded.client() as client:
        for path in paths:
            for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE"):
                reply = client.send(client.build_request(method, guarded.url + path))
                assert reply.status_code == 401, (method, path)
        override = client.get("/v1/models", headers={"x-http-method-override": "HEAD", "x-original-url": "/livez"})
        assert override.status_code == 401


def test_the_console_is_public_for_reading_only(guarded: Api) -> None:
    """`POST /` may run a model, so it needs a key. Only the console's files have paths that begin with `/console/`."""
    with guarded.client() as client:
        assert client.get("/").status_code == 200 and client.head("/").status_code == 200
        for method, path in [(m, p) for m in ("POST", "PUT", "DELETE", "OPTIONS") for p in ("/", "/console/x/main.js")]:
            assert client.request(method, path).status_code == 401, (method, path)
        for path in (
            "/console/x/y",
            "/console/../v1/models",
            "/console/x/../../v1/models",
            "/console/%2e%2e/v1/models",
        ):
            assert client.send(client.build_request("GET", guarded.url + path)).status_code in (401, 404), path


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", f"Basic {ALICE}", f"Bearer{ALICE}", f"Bearer x{ALICE}"])
def test_invalid_authorization_headers(header: str) -> None:
    assert Keys({ALICE: "alice"}).principal(header.encode()) is None


def test_a_key_names_its_principal_and_its_secret_is_not_kept() -> None:
    keys = Keys({ALICE: "alice", BOB: "bob"})
    assert keys.principal(f"Bearer {BOB}".encode()) == "bob"
    assert keys.principal(f"bearer {ALICE}".encode()) == "alice"
    assert ALICE not in repr(vars(keys))


def test_versions_of_another_owner_are_not_found(guarded: Api, shelf: Shelf) -> None:
    shelf.classifier("alices", owner="alice")
    body = {"model": "alices", "input": "a"}
    with guarded.client(ALICE) as alice, guarded.client(BOB) as bob:
        assert alice.post("/v1/classify", json=body).status_code == 200
        for call in (
            lambda: bob.post("/v1/classify", json=body),
            lambda: bob.post("/v1/classify", json={**body, "model": "alices:1"}),
            lambda: bob.post("/v1/embeddings", json=body),
            lambda: bob.get("/v1/models/alices"),
            lambda: bob.delete("/v1/models/alices:1"),
        ):
            reply = call()
            assert reply.status_code == 404 and reply.json()["error"]["code"] == "model_not_found"
        assert bob.get("/v1/models").json()["data"] == []
        assert {m["id"] for m in alice.get("/v1/models").json()["data"]} == {"alices", "alices:1"}


def test_without_keys_the_header_is_ignored(tmp_path: Any, _sqlite_template: Any, settings: Settings) -> None:
    open_settings = msgspec.structs.replace(settings, api_keys="")
    with Api(open_settings) as api:
        assert (
            httpx.get(f"{api.url}/v1/models", headers={"authorization": "Bearer whatever"}, timeout=60).status_code
            == 200
        )


def test_other_web_sites_are_refused(settings: Settings) -> None:
    with Api(msgspec.structs.replace(settings, api_keys="")) as api, api.client() as client:
        body = {"model": "x", "input": "a"}
        for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}, {"origin": "null"}):
            reply = client.post("/v1/classify", json=body, headers=headers)
            assert reply.status_code == 403, headers
            assert "access-control-allow-origin" not in reply.headers
        own = client.post("/v1/classify", json=body, headers={"origin": api.url})
        assert own.status_code == 404
        assert "access-control-allow-origin" not in client.options("/v1/classify").headers


def test_without_keys_the_host_header_must_name_this_machine(settings: Settings, shelf: Shelf) -> None:
    """In a DNS rebinding attack, the attacker's domain resolves to 127.0.0.1, so a browser regards the attacker's page
    and the service as one site."""
    shelf.classifier("mood")
    foreign = ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "8.8.8.8")
    paths = (
        "/v1/models",
        "/v1/files",
        "/v1/registry/models/mood/versions/1/export",
        "/metrics",
        "/openapi.json",
        "/docs",
        *HEALTH,
    )
    with Api(msgspec.structs.replace(settings, api_keys="")) as api, api.client() as client:
        for method in ("GET", "HEAD", "OPTIONS"):
            for path in paths:
                for host in foreign:
                    reply = client.request(method, path, headers={"host": host})
                    assert reply.status_code == 403, (method, path, host)
        for host in ("localhost:8000", "127.0.0.1", "127.9.9.9:1", "[::1]:8000", "api", "api:8000"):
            for path in ("/v1/models", "/livez"):
                assert client.get(path, headers={"host": host}).status_code == 200, (path, host)
    with Api(settings) as guarded, guarded.client(ALICE) as alice:  # a page has no key, so with keys any name is served
        for path in ("/v1/models", "/livez"):
            assert alice.get(path, headers={"host": "service.example"}).status_code == 200


def test_reports_leave_out_the_names_of_other_owners_versions(guarded: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier("hers", owner="alice", alias="live")
    twin = shelf.classifier("his", owner="bob", alias="live")
    with guarded.client() as keyless, guarded.client(ALICE) as alice, guarded.client(BOB) as bob:
        for client, name in ((alice, "hers"), (bob, "his")):
            assert client.post("/v1/classify", json={"model": name, "input": "a"}).status_code == 200
            shelf.registry.set_alias(name, "live", 1, "local", required=True)

        def loaded(client: httpx.Client) -> list[str]:
            return [v["ref"] for engine in client.get("/v1/engine").json()["engines"] for v in engine["versions"]]

        wait_until(lambda: (loaded(alice), loaded(bob)) == (["hers:1"], ["his:1"]))
        wait_until(lambda: len(alice.get("/readyz").json()["checks"]) == 4 and alice.get("/readyz").status_code == 200)
        plain = {"database": "ok", "engine": "ok", "other required versions": "ok"}
        assert keyless.get("/readyz").json()["checks"] == plain
        assert alice.get("/health").json()["checks"] == plain | {"hers@live": "ok"}
        with shelf.database.transaction() as session:  # equal files have the same digest, whoever owns them
            hers = shelf.registry.get("hers", 1, "alice")
            session.execute(update(VersionRow).where(VersionRow.model == "his").values(digest=hers.digest))
        assert loaded(bob) == ["his:1"] and loaded(alice) == ["hers:1"] and hers.digest != twin.digest
        engine.refuse_loads = ("out_of_memory", "no room")
        shelf.classifier("third", owner="alice", alias="live")
        shelf.registry.set_alias("third", "live", 1, "local", required=True)
        wait_until(lambda: keyless.get("/readyz").status_code == 503)
        assert keyless.get("/readyz").json()["checks"] == plain | {"other required versions": "1 of 3 are not ready"}
        wait_until(lambda: "no room" in alice.get("/readyz").text)
        assert "third" not in bob.get("/readyz").text
        refused = alice.post("/v1/classify", json={"model": "third", "input": "a"})
        assert refused.status_code == 503 and refused.json()["error"]["message"].startswith("the version could not")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, "an API key is required"),
        ("", "an API key is required"),
        ("Bearer", "an API key is required"),
        ("Basic YTpi", "an API key is required"),
        ("Bearer wrong-secret", "the API key is unknown"),
        (f"bearer {ALICE}x", "the API key is unknown"),
        (f"Bearer alice:{ALICE}", "the API key begins with its name: leave out 'alice:', and send only the secret"),
        (f"Bearer alice:{ALICE[:-1]}", "the API key is unknown"),
        (f"Bearer bob:{ALICE}", "the API key is unknown"),
        (f"Bearer :{ALICE}", "the API key is unknown"),
    ],
)
def test_a_wrong_key_and_a_missing_one_are_told_apart(guarded: Api, header: str | None, words: str) -> None:
    reply = httpx.get(f"{guarded.url}/v1/models", headers={} if header is None else {"authorization": header})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (401, "invalid_api_key") and error["message"].startswith(words)
