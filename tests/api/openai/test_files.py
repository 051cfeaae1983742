"""Files, through OpenAI's client and plain HTTP."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from app.settings import Settings
from tests.api.clients import sdk
from tests.serving import Api, settings_in
from tests.training.data.tables import parquet

DATA = b"text,label\ngood,yes\nbad,no\n"
EVERY_FIELD = {
    "id", "object", "bytes", "created_at", "filename", "purpose", "status", "expires_at", "status_details", "sha256",
    "format", "rows", "columns", "column_roles",
}  # fmt: skip


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    with Api(settings) as running:
        yield running


@pytest.fixture
def client(api: Api) -> Iterator[openai.OpenAI]:
    with sdk(api) as openai_client:
        yield openai_client


def test_a_file_from_upload_to_deletion(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_bytes(DATA)
    file = client.files.create(file=path, purpose="fine-tune")
    assert set(file.to_dict()) == EVERY_FIELD
    assert file.id.startswith("file-") and file.object == "file" and file.status == "processed"
    assert (file.filename, file.bytes, file.purpose) == ("reviews.csv", len(DATA), "fine-tune")
    assert file.sha256 == hashlib.sha256(DATA).hexdigest()  # type: ignore[attr-defined]
    assert file.format == "csv"  # type: ignore[attr-defined]
    assert (file.to_dict()["rows"], file.to_dict()["columns"]) == (2, ["text", "label"])
    assert file.to_dict()["column_roles"] == {}
    assert isinstance(file.to_dict()["created_at"], int)
    assert client.files.retrieve(file.id).to_dict() == file.to_dict()
    assert client.files.content(file.id).read() == DATA
    assert client.files.wait_for_processing(file.id).id == file.id
    assert [item.id for item in client.files.list()] == [file.id]
    deleted = client.files.delete(file.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "file", True)
    assert list(client.files.list()) == []
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            call(file.id)
        assert caught.value.code == "file_not_found" and caught.value.request_id


def test_an_upload_may_name_its_expiry_and_format(client: openai.OpenAI) -> None:
    file = client.files.create(
        file=("odd.dat", DATA, "text/csv"),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
        extra_body={"format": "csv"},
    )
    assert file.expires_at == file.created_at + 3600
    assert file.format == "csv"  # type: ignore[attr-defined]


def test_column_roles_of_a_file_are_the_defaults_of_its_jobs(client: openai.OpenAI) -> None:
    """OpenAI's client sends a nested `extra_body` as `columns[text]` and similar fields."""
    extra: Any = {"columns": {"text": "body", "label": "mood"}}
    file = client.files.create(file=("a.csv", b"body,mood,kind\na,b,c\n"), purpose="fine-tune", extra_body=extra)
    assert file.to_dict()["column_roles"] == extra["columns"]
    assert client.files.retrieve(file.id).to_dict()["column_roles"] == extra["columns"]
    jobs = client.fine_tuning.jobs
    assert jobs.create(model="rnn", training_file=file.id).to_dict()["columns"] == extra["columns"]
    own: Any = {"columns": {"label": "kind", "split": "part"}}
    job = jobs.create(model="rnn", training_file=file.id, extra_body=own)
    assert job.to_dict()["columns"] == {"text": "body", "label": "kind", "split": "part"}


def test_pages(client: openai.OpenAI) -> None:
    ids = [client.files.create(file=(f"{i}.csv", DATA), purpose="fine-tune").id for i in range(5)]
    other = client.files.create(file=("x.txt", b"x"), purpose="evals").id
    page = client.files.list(limit=2, purpose="fine-tune")
    assert page.has_more and len(page.data) == 2
    assert {item.id for item in client.files.list(limit=2, purpose="fine-tune")} == set(ids)
    forward = [item.id for item in client.files.list(limit=2, order="asc")]
    assert forward == [item.id for item in client.files.list(limit=4, order="desc")][::-1]
    assert set(forward) == {*ids, other}


def test_a_large_file_is_streamed(api: Api, client: openai.OpenAI) -> None:
    data = bytes(range(256)) * 20_000
    file = client.files.create(file=("big.bin", io.BytesIO(data)), purpose="user_data")
    with client.files.with_streaming_response.content(file.id) as reply:
        assert reply.headers["content-length"] == str(len(data))
        assert b"".join(reply.iter_bytes()) == data


def test_file_names_are_never_paths(api: Api) -> None:
    with api.client() as http:
        for sent, stored in (("../../etc/passwd", "passwd"), ('a"b\nc.csv', None), ("日本 語.csv", "日本 語.csv")):
            reply = http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": (sent, DATA)})
            assert reply.status_code == 200, reply.text
            name = reply.json()["filename"]
            assert stored in (None, name) and "/" not in name and "\n" not in name
            content = http.get(f"/v1/files/{reply.json()['id']}/content")
            assert content.content == DATA
            assert content.headers["content-disposition"].startswith("attachment;")
            assert content.headers["content-type"] == "application/octet-stream"
            assert content.headers["x-content-type-options"] == "nosniff"


BAD: list[tuple[dict[str, Any], dict[str, Any] | None, str | None, str]] = [
    ({}, {"file": ("a.csv", DATA)}, "purpose", "fine-tune"),
    ({"purpose": "fine-tune"}, {"data": ("a.csv", DATA)}, "data", "unknown field"),
    ({"purpose": "fine-tune", "porpose": "x"}, {"file": ("a.csv", DATA)}, "porpose", "did you mean 'purpose'"),
    ({"purpose": "No Good"}, {"file": ("a.csv", DATA)}, "purpose", "fine-tune"),
    ({"purpose": "string"}, {"file": ("a.csv", DATA)}, "purpose", "'string' is not a valid purpose; use fine-tune"),
    ({"purpose": "fine-tune"}, {"file": ("a.csv", b"")}, "file", "a.csv is empty: it has 0 bytes"),
    ({"purpose": "fine-tune", "format": "doc"}, {"file": ("a.csv", DATA)}, "format", "parquet"),
    (
        {"purpose": "fine-tune", "columns[text]": "a" * 1001},
        {"file": ("a.csv", DATA)},
        "columns[text]",
        "name of a column",
    ),
    ({"purpose": "fine-tune", "columns[text]": "a\0"}, {"file": ("a.csv", DATA)}, "columns[text]", "name of a column"),
    ({"purpose": "fine-tune", "columns[texts]": "x"}, {"file": ("a.csv", DATA)}, "columns[texts]", "did you mean"),
    ({"purpose": "fine-tune", "expires_after[anchor]": "x"}, {"file": ("a.csv", DATA)}, "expires_after", "created_at"),
    ({"purpose": "fine-tune", "expires_after[seconds]": "5"}, {"file": ("a.csv", DATA)}, "expires_after", "3600"),
    ({"purpose": "fine-tune", "expires_after[seconds]": "x"}, {"file": ("a.csv", DATA)}, "expires_after", "number"),
    ({"purpose": "fine-tune"}, {"other": ("a.csv", b"")}, "other", "unknown field"),
]


@pytest.mark.parametrize(("fields", "files", "param", "words"), BAD)
def test_invalid_fields(api: Api, fields: dict[str, Any], files: dict[str, Any], param: str, words: str) -> None:
    with api.client() as http:
        reply = http.post("/v1/files", data=fields, files=files)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param and words in error["message"]


def test_invalid_forms(api: Api) -> None:
    with api.client() as http:
        assert http.post("/v1/files", json={"file": "x"}).status_code == 415
        assert http.post("/v1/files", content=b"x", headers={"content-type": "text/csv"}).status_code == 415
        broken = http.post("/v1/files", content=b"--x\r\n", headers={"content-type": "multipart/form-data; boundary=y"})
        assert broken.status_code == 400 and "message" in broken.json()["error"]
        without = http.post("/v1/files", content=b"", headers={"content-type": "multipart/form-data"})
        assert without.status_code == 400 and "message" in without.json()["error"]
        no_name = http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": (None, "text")})
        assert no_name.status_code == 400 and "file name" in no_name.json()["error"]["message"]
        assert http.get("/v1/files?limit=0").status_code == 400
        assert http.get("/v1/files?limit=many").json()["error"]["param"] == "limit"
        assert http.get("/v1/files?order=up").json()["error"]["param"] == "order"
        assert http.get("/v1/files/..%2f..%2fetc").status_code == 404
        twice = http.post("/v1/files", data={"purpose": ["a", "b"]}, files={"file": ("a.csv", DATA)})
        assert twice.status_code == 400 and "twice" in twice.json()["error"]["message"]


def test_the_size_limit(data_dir: Path) -> None:
    with Api(settings_in(data_dir, max_upload_bytes=1000)) as api, api.client() as http:
        form = {"data": {"purpose": "fine-tune"}, "files": {"file": ("a.csv", b"x" * 1000)}}
        assert http.post("/v1/files", **form).status_code == 200  # type: ignore[arg-type]
        form["files"] = {"file": ("a.csv", b"x" * 1001)}
        reply = http.post("/v1/files", **form)  # type: ignore[arg-type]
        assert reply.status_code == 413 and reply.json()["error"]["code"] == "too_large"
        assert "POST /v1/uploads" in reply.json()["error"]["message"]
        form["files"] = {"file": ("a.csv", b"x" * (2**20 + 2000))}  # more than the middleware lets through
        reply = http.post("/v1/files", **form)  # type: ignore[arg-type]
        assert reply.status_code == 413 and "POST /v1/uploads" in reply.json()["error"]["message"]
        assert len(http.get("/v1/files").json()["data"]) == 1


def test_owners(data_dir: Path) -> None:
    keys = "alice:secret-of-alice,bob:secret-of-bob"
    with Api(settings_in(data_dir, api_keys=keys)) as api:
        with sdk(api, "secret-of-alice") as alice, sdk(api, "secret-of-bob") as bob:
            file_id = alice.files.create(file=("a.csv", DATA), purpose="fine-tune").id
            assert list(bob.files.list()) == [] and len(list(alice.files.list())) == 1
            for call in (bob.files.retrieve, bob.files.content, bob.files.delete):
                with pytest.raises(openai.NotFoundError):
                    call(file_id)
            assert alice.files.retrieve(file_id).id == file_id
        with sdk(api, "wrong") as stranger, pytest.raises(openai.AuthenticationError):
            stranger.files.list()
        assert httpx.get(f"{api.url}/v1/files/{file_id}/content").status_code == 401


def test_the_form_of_the_documentation_page_uploads_a_plain_file(api: Api) -> None:
    """Swagger UI fills each text field with its example, or with "null" if its schema allows null."""
    with api.client() as client:
        [content] = client.get("/openapi.json").json()["paths"]["/v1/files"]["post"]["requestBody"]["content"].values()
        fields = {name: shown(schema) for name, schema in content["schema"]["properties"].items() if name != "file"}
        reply = client.post("/v1/files", data=fields, files={"file": ("a.csv", DATA)})
    assert reply.status_code == 200, reply.text
    stored = reply.json()
    assert (stored["purpose"], stored["expires_at"], stored["column_roles"]) == ("fine-tune", None, {})


def shown(schema: dict[str, Any]) -> str:
    """The value that Swagger UI shows in the form for a field with this schema."""
    if schema.get("examples"):
        return str(schema["examples"][0])
    first = schema["anyOf"][0] if "anyOf" in schema else schema
    return "null" if first["type"] == "null" else str(first.get("enum", ["string"])[0])


def test_a_preview_has_the_first_rows_of_a_file(api: Api, client: openai.OpenAI) -> None:
    file = client.files.create(file=("a.parquet", parquet()), purpose="fine-tune")
    shown = httpx.get(f"{api.url}/v1/files/{file.id}/preview").json()
    assert shown["object"] == "file.preview" and (shown["id"], shown["format"]) == (file.id, "parquet")
    assert shown["columns"] == ["text", "label", "split"] and shown["rows"][2] == ["naïve 😀", "good", "test"]
    assert httpx.get(f"{api.url}/v1/files/file-{'0' * 24}/preview").json()["error"]["code"] == "file_not_found"
