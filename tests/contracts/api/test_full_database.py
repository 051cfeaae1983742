"""A database with a full disk: replies ask clients to try again later, jobs wait, and nothing is lost."""

from __future__ import annotations

import httpx

from app.api.http.services import Services
from tests.full_databases import full
from tests.serving import Api


def upload(client: httpx.Client, number: int) -> httpx.Response:
    files = {"file": (f"{number}.csv", f"text,label\n{number},a\n".encode())}
    return client.post("/v1/files", data={"purpose": "fine-tune"}, files=files)


def upload_until_full(client: httpx.Client) -> tuple[list[str], httpx.Response]:
    """Upload files until one is refused. Returns the ids of the stored files, and the reply to the refused upload."""
    ids = []
    for number in range(2000):
        reply = upload(client, number)
        if reply.status_code != 200:
            return ids, reply
        ids.append(reply.json()["id"])
    raise AssertionError("the database was never full")


def test_a_full_database_answers_503_and_keeps_what_it_has(api: Api) -> None:
    services: Services = api.app.state.services
    with api.client() as client:
        with full(services.database):
            ids, refused = upload_until_full(client)
            assert refused.status_code == 503 and refused.headers["retry-after"] == "60"
            assert refused.json()["error"]["code"] == "database_full"
            assert "disk" in refused.json()["error"]["message"]
            assert [client.get(f"/v1/files/{id_}").status_code for id_ in ids] == [200] * len(ids)
            for path in ("/v1/models", "/v1/fine_tuning/jobs", "/v1/registry/models"):
                assert client.get(path).status_code == 200
        assert upload(client, 9999).status_code == 200
        assert {item["id"] for item in client.get("/v1/files").json()["data"]} > set(ids)
