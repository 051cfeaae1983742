"""Probes are stored as token ids for the owner of a version. They reach the engine, and no route returns them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from app.wire.probes import IMPORT, MOST, decode
from tests.serving import Api, Shelf

PATH = "/v1/registry/models/mood/versions/1/probes"


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    with Api(settings) as running:
        yield running


@pytest.fixture
def shelf(settings: Settings, tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(settings, tmp_path / "shelf")
    yield shelf
    shelf.close()


def test_texts_are_stored_as_ids(api: Api, shelf: Shelf) -> None:
    version = shelf.classifier()
    with api.client() as client:
        reply = client.put(PATH, json={"input": ["abc", "long " * 500]})
        assert reply.status_code == 200
        assert reply.json() == {"id": "mood:1", "object": "model.version.probes", "probes": 2}
        assert client.get(PATH).status_code in (404, 405)
        files = client.get("/v1/registry/models/mood/versions/1").json()["files"]
    probes = decode(api.services.probes.load(version.digest, version.owner))
    assert probes is not None and probes.source == IMPORT and len(probes) == 2
    assert all(row and max(row) < 512 for row in probes.sequences) and "probes" not in files


@pytest.mark.parametrize("inputs", [[], ["a"] * (MOST + 1), [[[1.0]]], [[10**9]], "text", [""]])
def test_unusable_probes_are_rejected(api: Api, shelf: Shelf, inputs: object) -> None:
    shelf.classifier()
    with api.client() as client:
        reply = client.put(PATH, json={"input": inputs})
        assert reply.status_code == 400 and reply.json()["error"]["param"].startswith("input")


def test_there_must_be_such_a_version(api: Api, shelf: Shelf) -> None:
    with api.client() as client:
        assert client.put(PATH, json={"input": ["a"]}).status_code == 404


def test_long_probes_count_towards_the_limit_on_waiting_input(api: Api, shelf: Shelf) -> None:
    shelf.classifier()
    readers = api.services.inference._readers
    with api.client() as client:
        readers.load = readers.room
        refused = client.put(PATH, json={"input": ["long " * 1000]})
        assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
        readers.load = 0
        assert client.put(PATH, json={"input": ["long " * 1000]}).status_code == 200
