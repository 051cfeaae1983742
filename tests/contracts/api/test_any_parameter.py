"""Arbitrary paths, queries and bodies: management routes accept or reject them, and never reply with 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.db.tables import JobCheckpointRow
from tests.api.clients import sdk
from tests.serving import Api, Shelf, settings_in

ROOMS = ("/v1/models", "/v1/files", "/v1/uploads", "/v1/fine_tuning", "/v1/evaluations", "/v1/registry")
ODD = (
    "", "\x00", "a\x00b", "ftevent-\x00", "ftckpt-\x00", "upload-\x00", "part-\x00", "file-\x00", "mood\x00", "é" * 50,
    "\U0001f40d", "\ufffd", "%", "%00", "_", "\\", "'; DROP TABLE jobs; --", "../../etc/passwd", "null", "None", "true",
    "0", "-1", "1", "2", "1.5", "1e400", "nan", "inf", "-inf", "10000", str(2**31), str(2**63 - 1), str(2**63),
    str(10**30), "-" + "9" * 30, "9" * 5000, "asc", "desc", "ready", "x" * 300, "K", "test.accuracy", "a,b", ":", "@",
)  # fmt: skip
NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([2**31, 2**63, 10**30, -(10**30)]))


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Api]:
    with Api(settings_in(tmp_path / "data", database_url=database_url)) as running:
        yield running


@pytest.fixture
def references(api: Api, tmp_path: Path) -> list[str]:
    """The ids or references of one object of each kind."""
    shelf = Shelf(api.settings, tmp_path)
    version = shelf.classifier("mood", alias="champion")
    shelf.close()
    with sdk(api) as client:
        file = client.files.create(file=("a.csv", b"text,label\na,b\n"), purpose="fine-tune").id
        job = client.fine_tuning.jobs.create(model="rnn", training_file=file).id
        upload = client.uploads.create(bytes=3, filename="a.csv", mime_type="text/csv", purpose="fine-tune").id
        part = client.uploads.parts.create(upload, data=b"abc").id
        event = client.fine_tuning.jobs.list_events(job).data[0].id
    with api.client() as client:
        evaluation = client.post("/v1/evaluations", json={"model": "mood", "file": file}).json()["id"]
    row = {"id": "ftckpt-known", "job_id": job, "owner": "local", "step": 1, "digest": "0" * 64, "created_at": 1.0}
    with api.services.database.transaction() as session:
        config = {"task": "classification", "architecture": "rnn"}
        session.add(JobCheckpointRow(**row, files={}, config=config, metrics={}))
    digest = f"mood@sha256:{version.digest}"
    return [
        file,
        job,
        upload,
        part,
        event,
        "ftckpt-known",
        "mood",
        "champion",
        "mood:1",
        "mood@champion",
        digest,
        evaluation,
    ]


def bodies(value: st.SearchStrategy[str]) -> dict[str, st.SearchStrategy[Any]]:
    """Bodies with the correct fields and arbitrary values, for each operation with a body."""
    publish = st.fixed_dictionaries({}, optional={"name": value, "alias": value, "expected_version": NUMBERS})
    return {
        "complete_upload": st.fixed_dictionaries({"part_ids": st.lists(value, max_size=3)}, optional={"md5": value}),
        "create_upload": st.fixed_dictionaries({"bytes": NUMBERS, "filename": value, "purpose": value}),
        "set_model_alias": st.fixed_dictionaries({"version": NUMBERS}, optional={"expected_version": NUMBERS}),
        "create_evaluation": st.fixed_dictionaries(
            {"model": value, "file": value},
            optional={"against": value, "columns": st.fixed_dictionaries({}, optional={"text": value})},
        ),
        "create_fine_tuning_job": st.fixed_dictionaries(
            {"model": st.just("rnn") | value, "training_file": value},
            optional={
                "suffix": value, "metadata": st.dictionaries(value, value, max_size=2), "publish": publish,
                "seed": NUMBERS, "priority": NUMBERS, "task": value, "validation_file": value,
                "columns": st.fixed_dictionaries({}, optional={"text": value}),
            },
        ),
    }  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """A management route in the OpenAPI document."""

    name: str
    method: str
    path: str
    path_names: tuple[str, ...]
    query_names: tuple[str, ...]

    def __repr__(self) -> str:
        return self.name


def operations_of(api: Api) -> list[Operation]:
    document = httpx.get(f"{api.url}/openapi.json", timeout=60).json()
    operations = []
    for path, methods in document["paths"].items():
        for method, described in methods.items() if path.startswith(ROOMS) else ():
            places = [(p["in"], p["name"]) for p in described.get("parameters", ())]
            names = [tuple(name for where, name in places if where == kind) for kind in ("path", "query")]
            operations.append(Operation(described["operationId"], method.upper(), path, *names))
    return operations


@st.composite
def requests(draw: st.DrawFn, operations: list[Operation], references: list[str]) -> tuple[str, str, bytes | None]:
    """A request to one of the operations: its method, target and body."""
    value = st.one_of(st.sampled_from(references), st.sampled_from(ODD), st.text(max_size=40))
    operation = draw(st.sampled_from(operations))
    target = operation.path
    for name in operation.path_names:
        target = target.replace(f"{{{name}}}", quote(draw(value), safe=""))
    query = [(name, draw(value)) for name in operation.query_names if draw(st.booleans())]
    if operation.name == "list_fine_tuning_jobs" and draw(st.booleans()):
        query.append((f"metadata[{draw(value)}]", draw(value)))
    body = bodies(value).get(operation.name)
    content = None if body is None else json.dumps(draw(body)).encode()
    return operation.method, f"{target}?{urlencode(query)}", content


def test_no_request_makes_the_service_fail(api: Api, references: list[str]) -> None:
    @settings(max_examples=250, database=None)
    @given(request=requests(operations_of(api), references))
    def check(request: tuple[str, str, bytes | None]) -> None:
        method, target, content = request
        reply = client.request(method, target, content=content)
        assert reply.status_code < 500, reply.text

    with api.client() as client:
        check()


CASES = (
    ("GET", "/v1/registry/models/mood/aliases/champion/history?after=1" + "0" * 30, 404),
    ("GET", "/v1/registry/models/mood/aliases/champion/history?after=-1", 404),
    ("GET", "/v1/registry/models/mood/versions?status=%00", 400),
    ("GET", "/v1/registry/models/mood/versions?status=foo", 400),
    ("GET", "/v1/fine_tuning/jobs/{job}/events?after=%00", 404),
    ("GET", "/v1/fine_tuning/jobs/{job}/checkpoints?after=%00", 404),
    ("POST", "/v1/uploads/%00/cancel", 404),
    ("POST", "/v1/uploads/%00/complete", 404),
    ("POST", "/v1/uploads/{upload}/complete", 400),
)


@pytest.mark.parametrize(("method", "target", "status"), CASES)
def test_impossible_ids_are_not_looked_up(
    api: Api, references: list[str], method: str, target: str, status: int
) -> None:
    target = target.replace("{job}", references[1]).replace("{upload}", references[2])
    with api.client() as client:
        body = {"part_ids": ["part-\x00"]} if target.endswith("complete") else None
        reply = client.request(method, target, json=body)
    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["message"]


def test_an_unknown_after_is_not_found_in_any_list(api: Api, references: list[str]) -> None:
    """`after` must be an item of the list. For any other value, the reply is an error instead of an empty page."""
    job, evaluation = references[1], references[-1]
    lists = {
        "/v1/evaluations": "evaljob-" + "0" * 24,
        f"/v1/evaluations/{evaluation}/events": "ftevent-" + "0" * 24,
        "/v1/files": "file-" + "0" * 24,
        "/v1/fine_tuning/jobs": "ftjob-" + "0" * 24,
        f"/v1/fine_tuning/jobs/{job}/events": "ftevent-" + "0" * 24,
        f"/v1/fine_tuning/jobs/{job}/checkpoints": "ftckpt-" + "0" * 24,
        "/v1/registry/models": "nobody",
        "/v1/registry/models/mood/versions": "9",
        "/v1/registry/models/mood/aliases/champion/history": "99",
        "/v1/registry/versions": "mood:9",
        "/v1/models": "nobody",
    }
    with api.client() as client:
        for path, after in lists.items():
            assert client.get(path).status_code == 200, path
            reply = client.get(path, params={"after": after})
            assert reply.status_code == 404, (path, reply.text)
            assert reply.json()["error"]["param"] == "after", path


def test_every_list_refuses_an_invalid_limit(api: Api, references: list[str]) -> None:
    values = {"name": "mood", "alias": "champion", "job_id": references[1], "evaluation_id": references[-1]}
    lists = [
        operation.path.format(**{name: values[name] for name in operation.path_names})
        for operation in operations_of(api)
        if "limit" in operation.query_names
    ]
    assert len(lists) == 11
    with api.client() as client:
        for path in lists:
            for limit in ("0", "-1", str(10**9), str(10**30), "many"):
                reply = client.get(path, params={"limit": limit, "task": "classification"})
                assert reply.status_code == 400, (path, limit)
                assert reply.json()["error"]["param"] == "limit", path
