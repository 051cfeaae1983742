"""`/v1/models`, through OpenAI's client and plain HTTP."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.serving import Api, Shelf


@pytest.fixture
def client(api: Api) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{api.url}/v1", api_key="x", max_retries=0)


def test_models_are_listed_by_name_and_version(client: openai.OpenAI, shelf: Shelf) -> None:
    assert client.models.list().data == []
    shelf.classifier(alias="champion")
    shelf.classifier()
    shelf.generator()
    models = {model.id: model for model in client.models.list()}
    assert set(models) == {"mood", "mood:1", "mood:2", "echo", "echo:1"}
    assert models["mood"].version == 1  # type: ignore[attr-defined]
    assert models["mood"].owned_by == "local" and models["mood"].object == "model"
    cards = [model.model_dump(exclude_unset=True) for model in models.values()]
    assert [card["shutdown_date"] for card in cards] == 5 * [None]


def test_every_form_of_reference(client: openai.OpenAI, shelf: Shelf) -> None:
    version = shelf.classifier(alias="live")
    for reference in ("mood", "mood:1", "mood@live", f"mood@sha256:{version.digest}"):
        card = client.models.retrieve(reference)
        assert card.id == reference and card.digest == version.digest  # type: ignore[attr-defined]
    for reference in ("nobody", "mood:2", "mood@dead", "../etc", "mood:0"):
        with pytest.raises(openai.NotFoundError) as missing:
            client.models.retrieve(reference)
        assert missing.value.code == "model_not_found"


def test_deleting_a_version(client: openai.OpenAI, shelf: Shelf) -> None:
    shelf.classifier(alias="live")
    shelf.classifier()
    with pytest.raises(openai.BadRequestError) as used:
        client.models.delete("mood:1")
    assert used.value.code == "version_in_use"
    with pytest.raises(openai.BadRequestError):
        client.models.delete("mood")
    assert client.models.delete("mood:2").deleted
    assert {m.id for m in client.models.list()} == {"mood", "mood:1"}


def test_the_list_comes_in_pages(api: Api, shelf: Shelf) -> None:
    for _ in range(3):
        shelf.classifier()
    shelf.generator()
    shelf.registry.set_alias("mood", "champion", 1, "local")
    shelf.registry.set_alias("mood", "old", 1, "local")
    everything = ["echo", "echo:1", "mood", "mood:3", "mood:2", "mood:1"]
    with api.client() as http:
        whole = http.get("/v1/models").json()
        assert [card["id"] for card in whole["data"]] == everything and not whole["has_more"]
        assert [card["version"] for card in whole["data"]] == [1, 1, 1, 3, 2, 1]
        assert [card["aliases"] for card in whole["data"] if card["aliases"]] == 2 * [["champion", "old"]]
        for size in range(1, 7):
            ids: list[str] = []
            page: dict[str, Any] = {"has_more": True}
            while page["has_more"]:
                after = {"after": ids[-1]} if ids else {}
                page = http.get("/v1/models", params={"limit": size, **after}).json()
                assert 1 <= len(page["data"]) <= size
                ids += [card["id"] for card in page["data"]]
            assert ids == everything, size


def test_a_list_needs_few_queries_however_long_it_is(api: Api, shelf: Shelf) -> None:
    from sqlalchemy import event

    for number in range(12):
        shelf.classifier(f"mood-{number}")
    statements: list[str] = []
    engine = api.services.database.reader

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    with api.client() as http:
        for path in ("/v1/models", "/v1/registry/models", "/v1/registry/models?task=classification"):
            event.listen(engine, "before_cursor_execute", record)
            statements.clear()
            assert len(http.get(path).json()["data"]) >= 12
            event.remove(engine, "before_cursor_execute", record)
            selects = [s for s in statements if s.startswith("SELECT") and ("versions" in s or "models" in s)]
            assert len(selects) <= 4, (path, selects)
