"""`/v1/files`: uploaded data sets, in OpenAI's format."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response, StreamingResponse

from app.api.http.auth import Principal
from app.api.http.errors import IN_PARTS
from app.api.http.forms import Form, read_form
from app.api.http.replies import JsonReply, download
from app.api.http.services import ServicesDep
from app.api.openapi.describe import COMMON, LOOKUP, bound, failures, replies
from app.api.openapi.parameters import FILE_ID, PURPOSE
from app.errors import InvalidRequest, TooLarge
from app.files.records import StoredFile
from app.wire.file_formats import FORMATS
from app.wire.training_options import Columns

router = APIRouter(prefix="/v1/files", tags=["files"])

PACKED = (*FORMATS, *(f"{name}.gz" for name in FORMATS))
COLUMNS = {role: f"columns[{role}]" for role in Columns.__struct_fields__}
MOST_NAME = 1000
FIELDS = ("purpose", "file", "expires_after[anchor]", "expires_after[seconds]", "format", *COLUMNS.values())


class FileObject(msgspec.Struct, frozen=True):
    """An uploaded file.

    `status` is always `processed`, because errors in the content are reported by the job that reads the file. `format`
    is null if it cannot be inferred from the file name.

    `rows` and `columns` are read from CSV, TSV and JSONL files during the upload; the columns of JSONL are the fields
    of its first record. `rows` and `columns` are null for other formats, for files larger than 64 MiB uncompressed, and
    for files that cannot be read. `column_roles` contains the upload's fields `columns[text]`, `columns[label]` and so
    on, which are the default settings of jobs that train on the file.
    """

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


bound(FileObject, format={"enum": list(PACKED)})


class FileList(msgspec.Struct, frozen=True):
    """A page of files."""

    object: str
    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


class FileDeleted(msgspec.Struct, frozen=True):
    """The file that was deleted."""

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
_OPTIONAL: dict[str, Any] = {  # the examples are empty, because Swagger UI sends them; empty fields count as missing
    "expires_after[anchor]": {"type": "string", "enum": ["", "created_at"], "examples": [""]},
    "expires_after[seconds]": {
        "anyOf": [{"type": "integer", "minimum": 3600, "maximum": 2592000}, {"type": "string", "enum": [""]}],
        "examples": [""],
        "description": "The age at which the file is deleted, in seconds",
    },
    "format": {
        "type": "string",
        "enum": ["", *PACKED],
        "examples": [""],
        "description": "By default, the format is inferred from the extension of the file name",
    },
    **{
        field: {
            "type": "string",
            "maxLength": MOST_NAME,
            "examples": [""],
            "description": f"The column that jobs with this file use as `{role}`",
        }
        for role, field in COLUMNS.items()
    },
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "minLength": 1},
                        "purpose": {
                            "type": "string",
                            "pattern": PURPOSE,
                            "examples": ["fine-tune"],
                            "description": "`fine-tune` for training data",
                        },
                        **_OPTIONAL,
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
    description="Stores a data set. The content is checked by the job that reads the file. A file with the purpose "
    "`fine-tune` that contains neither text nor a table, such as a picture, is rejected with `unsupported_file`.",
    response_model=None,
    openapi_extra=_UPLOAD,
    responses=replies(FileObject, EXAMPLE, COMMON),
)
def create(services: ServicesDep, principal: Principal, form: Annotated[Form, Depends(read_form)]) -> Response:
    form.check_names(FIELDS)
    sent, expiry = form.file("file"), _expiry(form)
    if "purpose" not in form.fields:
        raise InvalidRequest("purpose is missing; for a data set, use 'fine-tune'", param="purpose")
    try:
        stored = services.files.create(
            principal,
            sent.filename,
            form.fields["purpose"],
            sent.pieces(),
            scratch=sent.file,
            limit=services.settings.max_upload_bytes,
            expires_after=expiry,
            format=_format(form.optional("format")),
            roles=_roles(form),
        )
    except TooLarge as error:
        raise TooLarge(f"{error.message}; {IN_PARTS}", param="file") from None
    return JsonReply(file_object(stored))


@router.get(
    "",
    operation_id="list_files",
    summary="List files",
    description="Returns the newest file first. For the next page, send the last id of this page as `after`.",
    response_model=None,
    responses=replies(FileList, _list_example := {"object": "list", "data": [EXAMPLE], "has_more": False}, COMMON),
)
def list_(
    services: ServicesDep,
    principal: Principal,
    after: str | None = None,
    limit: int = 10_000,
    order: Annotated[str, Query(description="Order by creation time: asc or desc")] = "desc",
    purpose: str | None = None,
) -> Response:
    page = services.files.list(principal, purpose=purpose, after=after, limit=limit, order=order)
    data = [file_object(item) for item in page.items]
    ends = (data[0].id, data[-1].id) if data else (None, None)
    return JsonReply(FileList("list", data, page.has_more, *ends))


@router.get(
    "/{file_id}",
    operation_id="retrieve_file",
    summary="Retrieve a file",
    response_model=None,
    responses=replies(FileObject, EXAMPLE, LOOKUP),
)
def retrieve(services: ServicesDep, principal: Principal, file_id: str) -> Response:
    """Returns a file's size, format and purpose. To download its content, append `/content` to the path."""
    return JsonReply(file_object(services.files.get(file_id, principal)))


@router.get(
    "/{file_id}/content",
    operation_id="retrieve_file_content",
    summary="Download a file",
    response_class=StreamingResponse,
    description="Returns the content exactly as it was uploaded, after verifying its SHA-256.",
    response_model=None,
    responses={
        200: {
            "description": "The content",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        **failures(*LOOKUP),
    },
)
def content(services: ServicesDep, principal: Principal, file_id: str) -> Response:
    stored, pieces = services.files.content(file_id, principal)
    return download(pieces, stored.filename, stored.bytes)


@router.delete(
    "/{file_id}",
    operation_id="delete_file",
    summary="Delete a file",
    description="Fails with `file_in_use` while an unfinished job needs the file.",
    response_model=None,
    responses=replies(FileDeleted, {"id": EXAMPLE["id"], "object": "file", "deleted": True}, LOOKUP),
)
def delete(services: ServicesDep, principal: Principal, file_id: str) -> Response:
    services.files.delete(file_id, principal)
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


def _format(name: str | None) -> str | None:
    if name is not None and name not in PACKED:
        raise InvalidRequest(f"format {name[:40]!a} is unknown; the formats are {', '.join(PACKED)}", param="format")
    return name


def _roles(form: Form) -> dict[str, str]:
    """Read the column for each role. For example, the field `columns[text]=body` becomes {"text": "body"}."""
    roles = {role: column for role, field in COLUMNS.items() if (column := form.optional(field)) is not None}
    for role, column in roles.items():
        if len(column) > MOST_NAME or "\x00" in column:
            message = f"columns[{role}] must be the name of a column, with 1 to {MOST_NAME} characters"
            raise InvalidRequest(message, param=COLUMNS[role])
    return roles


def _expiry(form: Form) -> int | None:
    anchor, seconds = form.optional("expires_after[anchor]"), form.optional("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor not in (None, "created_at"):
        raise InvalidRequest("expires_after.anchor must be created_at", param="expires_after")
    if seconds is None or not seconds.isdecimal() or len(seconds) > 9:
        raise InvalidRequest("expires_after.seconds must be a whole number", param="expires_after")
    return int(seconds)
