"""Multipart forms: small fields, and one file, which is kept on disk while the request is handled."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from fastapi import Request
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.api.http.services import services_of
from app.errors import InvalidRequest, UnsupportedMedia, did_you_mean
from app.storage.scratch import Scratch

CHUNK = 2**20
FIELDS = 64
FIELD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file sent in a form."""

    filename: str
    file: Scratch

    def pieces(self) -> Iterator[bytes]:
        """Yield the content in chunks of at most `CHUNK` bytes."""
        while piece := self.file.read(CHUNK):
            yield piece


@dataclass(frozen=True, slots=True)
class Form:
    """A form's text fields and files, by field name."""

    fields: dict[str, str]
    files: dict[str, SentFile]

    def file(self, name: str) -> SentFile:
        """The file in a field. Raises InvalidRequest if it is missing."""
        if name in self.files:
            return self.files[name]
        hint = "; this field was sent without a file name" if name in self.fields else ""
        raise InvalidRequest(f"{name} is missing: send a file in the multipart field {name!r}{hint}", param=name)

    def optional(self, name: str) -> str | None:
        """A field's text, or None if it is missing or empty. Web forms send unused fields as empty strings."""
        return self.fields.get(name) or None

    def check_names(self, allowed: Sequence[str]) -> None:
        """Raise InvalidRequest for a field whose name is not among `allowed`."""
        for name in (*self.fields, *self.files):
            if name not in allowed:
                raise InvalidRequest(
                    f"unknown field {name[:80]!a}{did_you_mean(name, allowed)}", code="unknown_field", param=name
                )


class DiskParser(MultiPartParser):
    """Starlette's parser, modified to store the file on the blob store's disk, so that it need not be copied."""

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None], scratch: Callable[[], Scratch]) -> None:
        super().__init__(headers, stream, max_files=1, max_fields=FIELDS, max_part_size=FIELD_BYTES)
        self._scratch = scratch

    def on_headers_finished(self) -> None:
        """Replace the temporary file that Starlette opens for a part. No data has been written to that file yet."""
        super().on_headers_finished()
        if self._current_part.file is not None:
            self._files_to_close_on_error.pop().close()
            file = self._scratch()
            self._files_to_close_on_error.append(file)  # type: ignore[arg-type]
            self._current_part.file.file = file

    def close_files(self) -> None:
        """Close all files, including one that is not in the form because its part is incomplete."""
        for file in self._files_to_close_on_error:
            file.close()


async def read_form(request: Request) -> AsyncIterator[Form]:
    """A dependency that reads a multipart request's form, and closes the form's file after the reply.

    `limits.BodyLimits` bounds the size of the body. Raises UnsupportedMedia if the body is not multipart/form-data,
    and InvalidRequest if the form is malformed or a field is sent twice.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise UnsupportedMedia(f"the request body must be multipart/form-data, not {kind[:60]!a}")
    services = services_of(request)
    scratch = partial(services.files.blobs.scratch, services.settings.scratch_dir)
    try:
        async with aclosing(request.stream()) as stream:
            parser = DiskParser(request.headers, stream, scratch)
            form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(error.message) from None
    try:
        yield _form(form.multi_items())
    finally:
        await form.close()
        parser.close_files()


def _form(items: Iterable[tuple[str, UploadFile | str]]) -> Form:
    fields: dict[str, str] = {}
    files: dict[str, SentFile] = {}
    for name, value in items:
        if name in fields or name in files:
            raise InvalidRequest(f"{name[:80]!a} is sent twice", param=name)
        if isinstance(value, str):
            fields[name] = value
        else:
            assert isinstance(value.file, Scratch)
            files[name] = SentFile(value.filename or "file", value.file)
    return Form(fields, files)
