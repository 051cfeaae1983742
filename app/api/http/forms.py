"""Multipart forms: small fields, and one file that is kept on disk while the request is handled."""

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
    """A file of a form."""

    filename: str
    file: BinaryIO

    def pieces(self) -> Iterator[bytes]:
        """The content, in chunks of at most `CHUNK` bytes."""
        while piece := self.file.read(CHUNK):
            yield piece


@dataclass(frozen=True, slots=True)
class Form:
    """A form: its text fields and its files, by field name."""

    fields: dict[str, str]
    files: dict[str, SentFile]

    def file(self, name: str) -> SentFile:
        """The file of a field. Raises InvalidRequest where it is missing."""
        if name in self.files:
            return self.files[name]
        hint = "; this field was sent without a file name" if name in self.fields else ""
        raise InvalidRequest(f"{name} is missing: send a file in the multipart field {name!r}{hint}", param=name)

    def check_names(self, allowed: Sequence[str]) -> None:
        """Raises InvalidRequest for a field whose name is not among `allowed`."""
        for name in (*self.fields, *self.files):
            if name not in allowed:
                raise InvalidRequest(
                    f"unknown field {name[:80]!a}{did_you_mean(name, allowed)}", code="unknown_field", param=name
                )


async def read_form(request: Request) -> AsyncIterator[Form]:
    """A dependency: the form of a multipart request, whose file is closed after the reply.

    `middleware.BodyLimit` bounds the size of the body. Raises UnsupportedMedia for a body of another type, and
    InvalidRequest for a malformed form or a field that is sent twice.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise UnsupportedMedia(f"the request body must be multipart/form-data, not {kind[:60]!a}")
    async with request.form(max_files=1, max_fields=FIELDS, max_part_size=FIELD_BYTES) as form:
        yield _form(form.multi_items())


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
