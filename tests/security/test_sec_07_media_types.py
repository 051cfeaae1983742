"""SEC-07: no route reads a body whose media type denotes code or serialized objects, whatever the body contains."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import httpx
import pytest

from tests.serving import Api

TYPES = (
    "application/vnd.bentoml+pickle", "application/x-python-pickle", "application/octet-stream", "application/msgpack",
    "application/vnd.msgpack-ext", "application/x-yaml", "application/x-java-serialized-object", "application/xml",
    "text/x-python", "image/png",
)  # fmt: skip
# Like TorchServe, these routes classify text or bytes of any other media type as a text, or ignore the body.
TEXT = {"/predictions/{name}", "/predictions/{name}/{version}"}


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def client(api: Api) -> httpx.Client:
    return api.client()


def test_no_route_reads_other_media_types(client: httpx.Client, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    body = pickle.dumps(Canary(canary))
    with client:
        document = client.get("/openapi.json", timeout=60).json()["paths"]
        routes = [(m.upper(), path) for path, ms in document.items() for m in ms if m in ("post", "put")]
        assert len(routes) > 30
        for method, path in routes:
            for kind in TYPES:
                reply = client.request(
                    method, re.sub(r"{[^}]*}", "1", path), content=body, headers={"content-type": kind}
                )
                assert 400 <= reply.status_code < 500, (method, path, kind, reply.status_code)
                takes_body = "requestBody" in document[path][method.lower()]
                if path.startswith("/v2/repository"):  # its clients send no media type, so the body is read as JSON
                    assert "not valid JSON" in reply.text or reply.status_code == 404, (path, kind, reply.text)
                elif takes_body and path not in TEXT and kind != "application/octet-stream":
                    assert reply.status_code in (404, 415, 422), (method, path, kind, reply.text)
    assert not canary.exists()
