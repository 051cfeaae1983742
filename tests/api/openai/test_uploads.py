"""Files uploaded in parts, through OpenAI's client."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from app.db.tables import FileRow
from app.settings import Settings
from tests.api.clients import sdk
from tests.serving import Api, settings_in

DATA = bytes(range(256)) * 4000


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    with Api(settings) as running:
        yield running


@pytest.fixture
def client(api: Api) -> Iterator[openai.OpenAI]:
    with sdk(api) as openai_client:
        yield openai_client


def begin(client: openai.OpenAI, size: int = len(DATA)) -> str:
    return client.uploads.create(bytes=size, filename="big.csv", mime_type="text/csv", purpose="fine-tune").id


def test_a_file_in_chunks(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    path.write_bytes(DATA)
    completed = client.uploads.upload_file_chunked(
        file=path, mime_type="text/csv", purpose="fine-tune", part_size=300_000,
        md5=hashlib.md5(DATA, usedforsecurity=False).hexdigest(),
    )  # fmt: skip
    assert completed.status == "completed" and completed.object == "upload" and completed.bytes == len(DATA)
    assert completed.file and completed.file.filename == "big.csv" and completed.file.purpose == "fine-tune"
    assert client.files.content(completed.file.id).read() == DATA
    assert [file.id for file in client.files.list()] == [completed.file.id]


def test_the_rows_of_a_table_in_parts_are_counted(client: openai.OpenAI) -> None:
    upload = begin(client, 19)
    parts = [client.uploads.parts.create(upload, data=data).id for data in (b"text,la", b"bel\na,b\nc,d\n")]
    completed = client.uploads.complete(upload, part_ids=parts)
    assert completed.file and completed.file.to_dict()["rows"] == 2
    assert completed.file.to_dict()["columns"] == ["text", "label"]


def test_parts_are_joined_in_the_order_of_their_ids(client: openai.OpenAI, api: Api) -> None:
    upload = begin(client, 6)
    parts = [client.uploads.parts.create(upload, data=data).id for data in (b"def", b"abc")]
    assert list(client.files.list()) == []
    completed = client.uploads.complete(upload, part_ids=parts[::-1])
    assert completed.file and client.files.content(completed.file.id).read() == b"abcdef"
    with pytest.raises(openai.BadRequestError) as caught:
        client.uploads.complete(upload, part_ids=parts)
    assert caught.value.code == "upload_not_pending"
    with api.services.database.read() as session:
        assert session.query(FileRow).where(FileRow.purpose == "part").count() == 0


def test_invalid_completions(client: openai.OpenAI) -> None:
    upload, other = begin(client, 6), begin(client, 3)
    part = client.uploads.parts.create(upload, data=b"abc").id
    cases: list[dict[str, Any]] = [
        {"part_ids": [part]},
        {"part_ids": [part, part], "md5": "0" * 32},
        {"part_ids": [part, "part-unknown"]},
        {"part_ids": []},
    ]
    for case in cases:
        with pytest.raises(openai.BadRequestError):
            client.uploads.complete(upload, **case)
    with pytest.raises(openai.BadRequestError):
        client.uploads.complete(other, part_ids=[part])
    assert client.uploads.complete(upload, part_ids=[part, part]).status == "completed"
    with pytest.raises(openai.BadRequestError):
        begin(client, 0)
    with pytest.raises(openai.NotFoundError):
        client.uploads.parts.create("upload-unknown", data=b"x")


def test_cancel(client: openai.OpenAI) -> None:
    upload = begin(client)
    client.uploads.parts.create(upload, data=b"abc")
    assert client.uploads.cancel(upload).status == "cancelled"
    with pytest.raises(openai.BadRequestError):
        client.uploads.parts.create(upload, data=b"abc")


def test_an_upload_expires(client: openai.OpenAI, api: Api) -> None:
    upload = begin(client)
    with api.services.database.transaction() as session:
        session.get_one(FileRow, upload).expires_at = 1.0
    with pytest.raises(openai.BadRequestError, match="expired"):
        client.uploads.parts.create(upload, data=b"abc")


def test_an_upload_is_visible_to_its_owner_only_and_not_as_a_file(data_dir: Path) -> None:
    with (
        Api(settings_in(data_dir, api_keys="alice:secret-of-alice,bob:secret-of-bob")) as api,
        sdk(api, "secret-of-alice") as alice,
        sdk(api, "secret-of-bob") as bob,
    ):
        upload = begin(alice, 3)
        part = alice.uploads.parts.create(upload, data=b"abc").id
        for call in (
            lambda: bob.uploads.parts.create(upload, data=b"x"),
            lambda: bob.uploads.complete(upload, part_ids=[part]),
            lambda: bob.uploads.cancel(upload),
            lambda: alice.files.retrieve(upload),
            lambda: alice.files.content(part),
            lambda: alice.files.delete(part),
        ):
            with pytest.raises(openai.NotFoundError):
                call()
        assert alice.uploads.complete(upload, part_ids=[part]).status == "completed"
