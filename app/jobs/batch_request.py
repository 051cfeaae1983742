"""A validated batch request, and the rules for validating it."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

from app.errors import InvalidRequest
from app.files.records import StoredFile
from app.files.service import check_expiry
from app.jobs.limits import FILE_ID, check_metadata
from app.jobs.parsing import check_text
from app.wire.batch import ENDPOINTS, MOST_BYTES, WINDOW

PURPOSE = "batch"


class OutputExpiry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lifetime of the result files: they expire `seconds` after their creation."""

    seconds: int
    anchor: str = "created_at"


class NewBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to answer all requests in a file."""

    input_file_id: Annotated[str, Meta(description="The id of a file with the purpose `batch`, from `POST /v1/files`")]
    endpoint: Annotated[str, Meta(description="The route that answers the requests")]
    completion_window: Annotated[str, Meta(description="The maximum time for completing the batch: 24h")]
    metadata: dict[str, str] | None = None
    output_expires_after: OutputExpiry | None = None

    @property
    def body_sha256(self) -> str:
        """A hash of the request that does not depend on the order of its fields."""
        return hashlib.sha256(b"batch" + msgspec.json.encode(self, order="deterministic")).hexdigest()


def check(request: NewBatch) -> None:
    """Check all rules that do not depend on the database. Raises InvalidRequest with `param` set."""
    check_text(msgspec.to_builtins(request))
    if not FILE_ID.fullmatch(request.input_file_id):
        message = f"input_file_id must be the id of an uploaded file (file-…), not {request.input_file_id[:80]!r}"
        raise InvalidRequest(message, param="input_file_id")
    if request.endpoint not in ENDPOINTS:
        message = f"endpoint must be one of {', '.join(ENDPOINTS)}, not {request.endpoint[:80]!r}"
        raise InvalidRequest(message, param="endpoint")
    if request.completion_window != WINDOW:
        message = f"completion_window must be {WINDOW}, not {request.completion_window[:20]!r}"
        raise InvalidRequest(message, param="completion_window")
    check_metadata(request.metadata or {})
    expiry = request.output_expires_after
    if expiry is not None:
        if expiry.anchor != "created_at":
            raise InvalidRequest("output_expires_after.anchor must be created_at", param="output_expires_after.anchor")
        check_expiry(expiry.seconds, "output_expires_after")


def check_file(file: StoredFile) -> None:
    """Check the purpose and the size of the input file. Raises InvalidRequest with `param` set."""
    if file.purpose != PURPOSE:
        message = f"input_file_id: {file.id} was uploaded with the purpose {file.purpose!r}; upload it with {PURPOSE!r}"
        raise InvalidRequest(message, code="invalid_file_purpose", param="input_file_id")
    if file.bytes > MOST_BYTES:
        message = f"input_file_id: {file.id} has {file.bytes} bytes; a batch can have at most {MOST_BYTES}"
        raise InvalidRequest(message, code="file_too_large", param="input_file_id")
