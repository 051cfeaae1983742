"""Reading multipart requests: small fields, and one file that is kept on disk while it is read.

Knows the form; knows no route. The body's size is bounded before it comes here (`middleware.BodyLimit`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from fastapi import Request
from starlette.datastructures import UploadFile

from app.errors import InvalidRequest, UnsupportedMedia, did_you_mean

CHUNK = 2**20
FIELDS = 64
FIELD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class SentFile:
    filename: str
    file: BinaryIO

    def pieces(self) -> Iterator[bytes]:
        while piece := self.file.read(CHUNK):
            yield piece


@dataclass(frozen=True, slots=True)
class Form:
    """The fields by name, and the files by theirs."""

    fields: dict[str, str]
    files: dict[str, SentFile]

    def file(self, name: str) -> SentFile:
        if name in self.files:
            return self.files[name]
        hint = "; it came without a file name" if name in self.fields else ""
        raise InvalidRequest(f"{name} is missing: send a file in the multipart field {name!r}{hint}", param=name)

    def check_names(self, known: Sequence[str]) -> None:
        for name in (*self.fields, *self.files):
            if name not in known:
                raise InvalidRequest(
                    f"unknown field {name[:80]!a}{did_you_mean(name, known)}", code="unknown_field", param=name
                )


async def read_form(request: Request) -> AsyncIterator[Form]:
    """A dependency: the form of a multipart request; its file is closed after the reply."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise UnsupportedMedia(f"the body must be multipart/form-data, not {kind[:60]!a}")
    async with request.form(max_files=1, max_fields=FIELDS, max_part_size=FIELD_BYTES) as sent:
        yield _form(sent.multi_items())


def _form(items: Iterable[tuple[str, UploadFile | str]]) -> Form:
    fields: dict[str, str] = {}
    files: dict[str, SentFile] = {}
    for name, value in items:
        if name in fields or name in files:
            raise InvalidRequest(f"{name[:80]!a} is sent twice", param=name)
        if isinstance(value, str):
            fields[name] = value
        else:
            files[name] = SentFile(value.filename or "file", value.file)
    return Form(fields, files)
