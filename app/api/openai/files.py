"""Uploaded data sets in OpenAI's shapes. Knows fields; what may be done with a file is said by `Files`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response, StreamingResponse

from app.api.http.auth import Principal
from app.api.http.context import ServicesDep
from app.api.http.errors import IN_PARTS
from app.api.http.forms import Form, read_form
from app.api.http.replies import JsonReply, download
from app.api.openapi.describe import COMMON, failures, replies
from app.api.openapi.parameters import FILE_ID
from app.errors import InvalidRequest, TooLarge
from app.files.records import FORMATS, StoredFile
from app.wire.training_options import Columns

router = APIRouter(prefix="/v1/files", tags=["files"])

PACKED = tuple(dict.fromkeys((*FORMATS.values(), *(f"{name}.gz" for name in FORMATS.values()))))
COLUMNS = {role: f"columns[{role}]" for role in Columns.__struct_fields__}
MOST_COLUMN = 1000
FIELDS = ("purpose", "file", "expires_after[anchor]", "expires_after[seconds]", "format", *COLUMNS.values())


class FileObject(msgspec.Struct, frozen=True):
    """`status` is always processed: what is wrong in a file is said by the job that reads it. `format`: csv, tsv,
    jsonl, parquet or text, with `.gz` where packed.

    `rows` and `columns` are noted of CSV, TSV and JSONL as they are uploaded (JSONL: the fields of the first record);
    null for other formats, for more than 64 MiB unpacked, and where they could not be made out. `column_roles` is what
    was sent as `columns[text]`, `columns[label]` and so on: jobs that train on the file read it so unless they say
    otherwise."""

    id: str
    object: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: str
    expires_at: int | None
    status_details: str | None
    sha256: str
    format: str | None
    rows: int | None
    columns: list[str] | None
    column_roles: dict[str, str]


class FileList(msgspec.Struct, frozen=True):
    object: str
    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


class FileDeleted(msgspec.Struct, frozen=True):
    id: str
    object: str
    deleted: bool


EXAMPLE: dict[str, Any] = {
    "id": FILE_ID,
    "object": "file",
    "bytes": 482133,
    "created_at": 1745383065,
    "filename": "reviews.csv",
    "purpose": "fine-tune",
    "status": "processed",
    "expires_at": None,
    "status_details": None,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "format": "csv",
    "rows": 5200,
    "columns": ["body", "mood"],
    "column_roles": {"text": "body", "label": "mood"},
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "description": "fine-tune for data to train with"},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
                        "format": {"type": "string", "enum": list(PACKED), "description": "if the name does not tell"},
                        **{field: {"type": "string"} for field in COLUMNS.values()},
                    },
                },
                "example": {"file": "text,label\nI love this,positive\n", "purpose": "fine-tune"},
            }
        },
    }
}


@router.post(
    "",
    operation_id="create_file",
    summary="Upload a file",
    description="Stores a data set. Its content is not judged here: the job that reads it tells what is wrong.",
    response_model=None,
    openapi_extra=_UPLOAD,
    responses=replies(FileObject, EXAMPLE, COMMON),
)
def create(context: ServicesDep, principal: Principal, form: Annotated[Form, Depends(read_form)]) -> Response:
    form.check_names(FIELDS)
    sent, expiry = form.file("file"), _expiry(form.fields)
    if "purpose" not in form.fields:
        raise InvalidRequest("purpose is missing; for a data set it is fine-tune", param="purpose")
    try:
        stored = context.files.create(
            principal,
            sent.filename,
            form.fields["purpose"],
            sent.pieces(),
            limit=context.settings.max_upload_bytes,
            expires_after=expiry,
            format=_format(form.fields.get("format")),
            roles=_roles(form.fields),
        )
    except TooLarge as error:
        raise TooLarge(f"{error.message}; {IN_PARTS}", param="file") from None
    return JsonReply(file_object(stored))


@router.get(
    "",
    operation_id="list_files",
    summary="List files",
    description="The newest first. The next page begins `after` the last id of this one.",
    response_model=None,
    responses=replies(FileList, _list_example := {"object": "list", "data": [EXAMPLE], "has_more": False}, COMMON),
)
def list_(
    context: ServicesDep,
    principal: Principal,
    after: str | None = None,
    limit: int = 10_000,
    order: Annotated[str, Query(description="asc or desc, by age")] = "desc",
    purpose: str | None = None,
) -> Response:
    page = context.files.list(principal, purpose=purpose, after=after, limit=limit, order=order)
    data = [file_object(item) for item in page.items]
    ends = (data[0].id, data[-1].id) if data else (None, None)
    return JsonReply(FileList("list", data, page.has_more, *ends))


@router.get(
    "/{file_id}",
    operation_id="retrieve_file",
    summary="Look at a file",
    response_model=None,
    responses=replies(FileObject, EXAMPLE, (*COMMON, 404)),
)
def retrieve(context: ServicesDep, principal: Principal, file_id: str) -> Response:
    """Its size, format and purpose; the bytes themselves are at `/content`."""
    return JsonReply(file_object(context.files.get(file_id, principal)))


@router.get(
    "/{file_id}/content",
    operation_id="retrieve_file_content",
    summary="Download a file",
    response_class=StreamingResponse,
    description="The bytes as they were sent, checked against their SHA-256 on the way.",
    response_model=None,
    responses={
        200: {
            "description": "The bytes",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        **failures(*COMMON, 404),
    },
)
def content(context: ServicesDep, principal: Principal, file_id: str) -> Response:
    stored, pieces = context.files.content(file_id, principal)
    return download(pieces, stored.filename, stored.bytes)


@router.delete(
    "/{file_id}",
    operation_id="delete_file",
    summary="Delete a file",
    description="Refused with `file_in_use` while a job that has not ended needs it.",
    response_model=None,
    responses=replies(FileDeleted, {"id": EXAMPLE["id"], "object": "file", "deleted": True}, (*COMMON, 404)),
)
def delete(context: ServicesDep, principal: Principal, file_id: str) -> Response:
    context.files.delete(file_id, principal)
    return JsonReply(FileDeleted(file_id, "file", True))


def file_object(stored: StoredFile) -> FileObject:
    return FileObject(
        id=stored.id,
        object="file",
        bytes=stored.bytes,
        created_at=int(stored.created_at),
        filename=stored.filename,
        purpose=stored.purpose,
        status=stored.status,
        expires_at=None if stored.expires_at is None else int(stored.expires_at),
        status_details=stored.status_details,
        sha256=stored.sha256,
        format=stored.format,
        rows=stored.rows,
        columns=stored.columns,
        column_roles=stored.roles,
    )


def _format(given: str | None) -> str | None:
    if given is not None and given not in PACKED:
        raise InvalidRequest(f"format {given[:40]!a} is unknown; there are {', '.join(PACKED)}", param="format")
    return given


def _roles(fields: dict[str, str]) -> dict[str, str]:
    """From `columns[text]=body` and so on: {"text": "body"}."""
    roles = {role: fields[field] for role, field in COLUMNS.items() if field in fields}
    for role, column in roles.items():
        if not 1 <= len(column) <= MOST_COLUMN or "\x00" in column:
            message = f"columns[{role}] must be the name of a column, of 1 to {MOST_COLUMN} characters"
            raise InvalidRequest(message, param=COLUMNS[role])
    return roles


def _expiry(fields: dict[str, str]) -> int | None:
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor not in (None, "created_at"):
        raise InvalidRequest("expires_after.anchor can only be created_at", param="expires_after")
    if seconds is None or not seconds.isdecimal() or len(seconds) > 9:
        raise InvalidRequest("expires_after.seconds must be a whole number", param="expires_after")
    return int(seconds)
