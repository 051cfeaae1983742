"""Refuses uploads of training data in formats that no reader supports, such as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from app.errors import InvalidRequest
from app.wire.file_kinds import ENOUGH, kind_of_upload

DATA = "fine-tune"  # the purpose of files that training jobs and evaluations read


def refuse_other_kinds(stream: Iterable[bytes], filename: str, purpose: str, param: str) -> Iterator[bytes]:
    """Yield the chunks of the stream unchanged.

    Raises InvalidRequest (`unsupported_file`) before the first chunk if the purpose is `fine-tune`, but the first bytes
    are those of a file without text or a table. The message has the same words as the failure of a training job.
    """
    chunks, start, first = iter(stream), b"", []
    while purpose == DATA and len(start) < ENOUGH and (chunk := next(chunks, None)) is not None:
        start += chunk[:ENOUGH]
        first.append(chunk)
    if kind := kind_of_upload(start):
        raise InvalidRequest(f"{filename} is {kind}", code="unsupported_file", param=param)
    yield from first
    yield from chunks
