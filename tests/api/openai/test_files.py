"""Files, as OpenAI's own client and plain HTTP see them, over a real socket."""

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

DATA = b"text,label\ngood,yes\nbad,no\n"
EVERY_FIELD = {
    "id", "object", "bytes", "created_at", "filename", "purpose", "status", "expires_at", "status_details", "sha256",
    "format", "rows", "columns", "column_roles",
}  # fmt: skip


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    with Api(settings) as found:
        yield found


@pytest.fixture
def client(api: Api) -> Iterator[openai.OpenAI]:
    with sdk(api) as found:
        yield found


def test_the_life_of_a_file(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_bytes(DATA)
    made = client.files.create(file=path, purpose="fine-tune")
    assert set(made.to_dict()) == EVERY_FIELD
    assert made.id.startswith("file-") and made.object == "file" and made.status == "processed"
    assert (made.filename, made.bytes, made.purpose) == ("reviews.csv", len(DATA), "fine-tune")
    assert made.sha256 == hashlib.sha256(DATA).hexdigest()  # type: ignore[attr-defined]
    assert made.format == "csv"  # type: ignore[attr-defined]
    said = made.to_dict()
    assert (said["rows"], said["columns"], said["column_roles"]) == (2, ["text", "label"], {})
    assert isinstance(made.to_dict()["created_at"], int)
    assert client.files.retrieve(made.id).to_dict() == made.to_dict()
    assert client.files.content(made.id).read() == DATA
    assert client.files.wait_for_processing(made.id).id == made.id
    assert [item.id for item in client.files.list()] == [made.id]
    gone = client.files.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "file", True)
    assert list(client.files.list()) == []
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            call(made.id)
        assert caught.value.code == "file_not_found" and caught.value.request_id


def test_the_sdks_own_fields(client: openai.OpenAI) -> None:
    made = client.files.create(
        file=("odd.dat", DATA, "text/csv"),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
        extra_body={"format": "csv"},
    )
    assert made.expires_at == made.created_at + 3600
    assert made.format == "csv"  # type: ignore[attr-defined]


def test_columns_are_named_with_the_file(client: openai.OpenAI) -> None:
    """The SDK sends extra_body flattened; a job reads the file so, unless it says otherwise."""
    wish: Any = {"columns": {"text": "body", "label": "mood"}}
    made = client.files.create(file=("a.csv", b"body,mood,kind\na,b,c\n"), purpose="fine-tune", extra_body=wish)
    assert made.to_dict()["column_roles"] == wish["columns"]
    assert client.files.retrieve(made.id).to_dict()["column_roles"] == wish["columns"]
    jobs = client.fine_tuning.jobs
    assert jobs.create(model="rnn", training_file=made.id).to_dict()["columns"] == wish["columns"]
    own: Any = {"columns": {"label": "kind", "split": "part"}}
    job = jobs.create(model="rnn", training_file=made.id, extra_body=own)
    assert job.to_dict()["columns"] == {"text": "body", "label": "kind", "split": "part"}


def test_pages(client: openai.OpenAI) -> None:
    made = [client.files.create(file=(f"{i}.csv", DATA), purpose="fine-tune").id for i in range(5)]
    other = client.files.create(file=("x.txt", b"x"), purpose="evals").id
    page = client.files.list(limit=2, purpose="fine-tune")
    assert page.has_more and len(page.data) == 2
    assert {item.id for item in client.files.list(limit=2, purpose="fine-tune")} == set(made)
    forward = [item.id for item in client.files.list(limit=2, order="asc")]
    assert forward == [item.id for item in client.files.list(limit=4, order="desc")][::-1]
    assert set(forward) == {*made, other}


def test_a_large_file_in_pieces(api: Api, client: openai.OpenAI) -> None:
    data = bytes(range(256)) * 20_000
    made = client.files.create(file=("big.bin", io.BytesIO(data)), purpose="user_data")
    with client.files.with_streaming_response.content(made.id) as reply:
        assert reply.headers["content-length"] == str(len(data))
        assert b"".join(reply.iter_bytes()) == data


def test_names_are_labels(api: Api) -> None:
    with api.client() as http:
        for sent, kept in (("../../etc/passwd", "passwd"), ('a"b\nc.csv', None), ("日本 語.csv", "日本 語.csv")):
            reply = http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": (sent, DATA)})
            assert reply.status_code == 200, reply.text
            name = reply.json()["filename"]
            assert kept in (None, name) and "/" not in name and "\n" not in name
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
    ({"purpose": "fine-tune", "format": "doc"}, {"file": ("a.csv", DATA)}, "format", "parquet"),
    ({"purpose": "fine-tune", "columns[text]": ""}, {"file": ("a.csv", DATA)}, "columns[text]", "name of a column"),
    ({"purpose": "fine-tune", "columns[text]": "a\0"}, {"file": ("a.csv", DATA)}, "columns[text]", "name of a column"),
    ({"purpose": "fine-tune", "columns[texts]": "x"}, {"file": ("a.csv", DATA)}, "columns[texts]", "did you mean"),
    ({"purpose": "fine-tune", "expires_after[anchor]": "x"}, {"file": ("a.csv", DATA)}, "expires_after", "created_at"),
    ({"purpose": "fine-tune", "expires_after[seconds]": "5"}, {"file": ("a.csv", DATA)}, "expires_after", "3600"),
    ({"purpose": "fine-tune", "expires_after[seconds]": "x"}, {"file": ("a.csv", DATA)}, "expires_after", "number"),
    ({"purpose": "fine-tune"}, {"other": ("a.csv", b"")}, "other", "unknown field"),
]


@pytest.mark.parametrize(("fields", "files", "param", "words"), BAD)
def test_bad_forms(api: Api, fields: dict[str, Any], files: dict[str, Any], param: str, words: str) -> None:
    with api.client() as http:
        reply = http.post("/v1/files", data=fields, files=files)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param and words in error["message"]


def test_forms_that_are_none(api: Api) -> None:
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
        form["files"] = {"file": ("a.csv", b"x" * (2**20 + 2000))}  # beyond what is read at all
        reply = http.post("/v1/files", **form)  # type: ignore[arg-type]
        assert reply.status_code == 413 and "POST /v1/uploads" in reply.json()["error"]["message"]
        assert len(http.get("/v1/files").json()["data"]) == 1


def test_owners(data_dir: Path) -> None:
    keys = "alice:secret-of-alice,bob:secret-of-bob"
    with Api(settings_in(data_dir, api_keys=keys)) as api:
        with sdk(api, "secret-of-alice") as alice, sdk(api, "secret-of-bob") as bob:
            made = alice.files.create(file=("a.csv", DATA), purpose="fine-tune").id
            assert list(bob.files.list()) == [] and len(list(alice.files.list())) == 1
            for call in (bob.files.retrieve, bob.files.content, bob.files.delete):
                with pytest.raises(openai.NotFoundError):
                    call(made)
            assert alice.files.retrieve(made).id == made
        with sdk(api, "wrong") as stranger, pytest.raises(openai.AuthenticationError):
            stranger.files.list()
        assert httpx.get(f"{api.url}/v1/files/{made}/content").status_code == 401
