"""SEC-21: JSON with lone surrogates, huge numbers, or too many values or levels is rejected without side effects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.db.tables import VersionRow
from app.settings import Settings
from tests.security.attacks import MODELS, checkpoint, code, upload
from tests.serving import Api

LISTS = (MODELS, f"{MODELS}/mood", f"{MODELS}/mood/versions", "/v1/registry/versions", "/v1/models")


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    with Api(settings) as running:
        yield running


@pytest.fixture
def http(api: Api) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("labels.json", r'["good", "\ud800"]'),
        ("metrics.json", r'{"test": {"per_class": {"\udfff": 1}}}'),
        ("metrics.json", '{"loss": 1' + "0" * 400 + "}"),
        ("metrics.json", '{"loss": 1e400}'),
        ("metrics.json", '{"a":' * 100_000 + "1" + "}" * 100_000),
        ("metrics.json", "[" + "0," * 2**20 + "0]"),
        ("training.json", '{"seed": 1' + "0" * 400 + "}"),
    ],
)
def test_a_poisoned_file_is_refused_and_nothing_is_registered(
    http: httpx.Client, tmp_path: Path, file: str, content: str
) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    (folder / file).write_text(content)
    reply = upload(http, folder)
    assert (reply.status_code, code(reply)) == (400, "invalid_checkpoint")
    assert file in reply.json()["error"]["message"]
    assert http.get(MODELS).json()["data"] == []


@pytest.mark.parametrize("field", ["threshold", "target", "normalization"])
def test_a_huge_number_in_the_configuration_is_refused(http: httpx.Client, tmp_path: Path, field: str) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    huge: Any = 10**400
    config[field] = huge if field == "threshold" else {"mean": huge, "std": huge}
    (folder / "config.json").write_text(json.dumps(config))
    assert code(upload(http, folder)) == "invalid_checkpoint"


@pytest.mark.parametrize(
    "damaged",
    [
        {"metrics": {"per_class": {"\ud800": 1.0}}},
        {"metrics": {"loss": 10**400}},
        {"config": {"labels": ["\udfff"], "width": 10**400}},
    ],
)
def test_lists_survive_a_row_that_an_early_release_has_stored(
    api: Api, http: httpx.Client, tmp_path: Path, damaged: dict[str, Any]
) -> None:
    assert upload(http, checkpoint(tmp_path / "checkpoint")).status_code == 200
    with api.services.database.transaction() as session:
        session.execute(update(VersionRow).values(**damaged))
    for path in LISTS:
        reply = http.get(path)
        assert reply.status_code == 200, path
        assert "mood" in reply.text
    searched = http.get("/v1/registry/versions", params={"metric": "loss"})
    compared = http.get("/v1/registry/compare", params={"versions": "mood:1,mood:1"})
    assert (searched.status_code, compared.status_code) == (200, 200)


@pytest.mark.parametrize(
    "body", [b'{"a":' * 100_000, rb'{"model": "\ud800"}', b'{"model": "\xed\xa0\x80"}', b'{"n": 1' * 9]
)
def test_a_hostile_body_is_refused(http: httpx.Client, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    for path in ("/v1/classify", "/v1/completions", "/v1/fine_tuning/jobs"):
        reply = http.post(path, content=body, headers=headers)
        assert (reply.status_code, code(reply)) == (400, "invalid_json")
