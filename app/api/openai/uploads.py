"""`/v1/uploads`: large files that are uploaded in parts, in OpenAI's format."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request
from msgspec import Meta
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.bodies import JsonBody
from app.api.http.forms import Form, read_form
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.openai.files import EXAMPLE as FILE_EXAMPLE
from app.api.openai.files import FileObject, file_object
from app.api.openapi.describe import COMMON, LOOKUP, Noted, reads, replies
from app.api.openapi.parameters import PART_IDS, PURPOSE, UPLOAD_ID
from app.errors import InvalidRequest
from app.files.uploads import MOST_BYTES, MOST_PARTS, Upload, Uploads

router = APIRouter(prefix="/v1/uploads", tags=["files"])
_PARTS_FROM = "The ids that `POST /v1/uploads/{upload_id}/parts` returned, in the order in which to join the parts"


class Expiry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the file expires: the number of seconds after its creation."""

    seconds: Annotated[int, Meta(ge=3600, le=2_592_000)]
    anchor: Annotated[str, Meta(extra_json_schema={"enum": ["created_at"]})] = "created_at"


class UploadRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to begin an upload. `bytes` is the size of the whole file."""

    bytes: Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": MOST_BYTES})]
    filename: Annotated[str, Meta(min_length=1, max_length=1024)]
    purpose: Annotated[str, Meta(extra_json_schema={"pattern": PURPOSE})]
    mime_type: str | None = None
    expires_after: Expiry | None = None


class CompleteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to complete an upload by joining its parts.

    `md5` is the MD5 checksum of the whole file. If the checksum differs, the request fails.
    """

    part_ids: Annotated[list[str], Meta(min_length=1, max_length=MOST_PARTS, description=_PARTS_FROM)]
    md5: str | None = None


class UploadObject(msgspec.Struct, frozen=True):
    """An upload. `status` is pending, completed, cancelled or expired; `file` is set once the upload is completed."""

    id: str
    object: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str
    file: FileObject | None


class PartObject(msgspec.Struct, frozen=True):
    """A part of an upload."""

    id: str
    object: str
    created_at: int
    upload_id: str


_EXAMPLE: dict[str, Any] = {
    "id": UPLOAD_ID,
    "object": "upload",
    "bytes": 482133,
    "created_at": 1745383065,
    "expires_at": 1745386665,
    "filename": "reviews.csv",
    "purpose": "fine-tune",
    "status": "pending",
    "file": None,
}
_PART: dict[str, Any] = {
    "id": PART_IDS[0],
    "object": "upload.part",
    "created_at": 1745383066,
    "upload_id": _EXAMPLE["id"],
}
_PART_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["data"],
                    "properties": {"data": {"type": "string", "format": "binary"}},
                },
                "example": {"data": "(bytes)"},
            }
        },
    }
}
_begin_body, _complete_body = JsonBody(UploadRequest), JsonBody(CompleteRequest)


async def upload_request(request: Request) -> UploadRequest:
    return await _begin_body.read(request)


async def complete_request(request: Request) -> CompleteRequest:
    return await _complete_body.read(request)


@router.post(
    "",
    operation_id="create_upload",
    summary="Begin an upload in parts",
    description="Begins the upload of a file that is too large for one request. An upload expires after an hour.",
    response_model=None,
    openapi_extra=reads(UploadRequest, begin={"bytes": 482133, "filename": "reviews.csv", "purpose": "fine-tune"}),
    responses=replies(UploadObject, _EXAMPLE, COMMON),
)
def create(
    services: ServicesDep, principal: Principal, body: Annotated[UploadRequest, Depends(upload_request)]
) -> Response:
    expiry = body.expires_after
    if expiry is not None and expiry.anchor != "created_at":
        raise InvalidRequest("expires_after.anchor must be created_at", param="expires_after")
    upload = Uploads(services.files).begin(
        principal, body.filename, body.purpose, body.bytes, expiry.seconds if expiry else None
    )
    return JsonReply(upload_object(upload))


@router.post(
    "/{upload_id}/parts",
    operation_id="add_upload_part",
    summary="Upload a part",
    description="Adds a part to an upload. Parts may be sent in any order, and several at the same time.",
    response_model=None,
    openapi_extra=_PART_FORM,
    responses=replies(PartObject, _PART, LOOKUP),
)
def add_part(
    services: ServicesDep, principal: Principal, upload_id: str, form: Annotated[Form, Depends(read_form)]
) -> Response:
    form.check_names(("data",))
    limit = services.settings.max_upload_bytes
    sent = form.file("data")
    part = Uploads(services.files).add_part(upload_id, principal, sent.pieces(), limit, sent.file)
    return JsonReply(PartObject(part.id, "upload.part", int(part.created_at), part.upload_id))


@router.post(
    "/{upload_id}/complete",
    operation_id="complete_upload",
    summary="Join the parts into a file",
    description=(
        "Several parts are copied to the new file, which temporarily requires twice their disk space. A single "
        "part becomes the file without being copied. If there is too little space, the request fails with "
        "`storage_unavailable`, and the parts are kept."
    ),
    response_model=None,
    openapi_extra=reads(
        CompleteRequest,
        join=Noted({"part_ids": list(PART_IDS)}, "Use the ids that POST /v1/uploads/{upload_id}/parts returned"),
    ),
    responses=replies(UploadObject, _EXAMPLE | {"status": "completed", "file": FILE_EXAMPLE}, LOOKUP),
)
def complete(
    services: ServicesDep,
    principal: Principal,
    upload_id: str,
    body: Annotated[CompleteRequest, Depends(complete_request)],
) -> Response:
    """Joins the parts into a file, in the order of `part_ids`. Fails if the file's checksum differs from `md5`."""
    upload = Uploads(services.files).complete(upload_id, principal, body.part_ids, body.md5)
    return JsonReply(upload_object(upload))


@router.post(
    "/{upload_id}/cancel",
    operation_id="cancel_upload",
    summary="Cancel an upload",
    response_model=None,
    responses=replies(UploadObject, _EXAMPLE | {"status": "cancelled"}, LOOKUP),
)
def cancel(services: ServicesDep, principal: Principal, upload_id: str) -> Response:
    """Discards an upload's parts. No more parts can be added."""
    return JsonReply(upload_object(Uploads(services.files).cancel(upload_id, principal)))


def upload_object(upload: Upload) -> UploadObject:
    return UploadObject(
        id=upload.id,
        object="upload",
        bytes=upload.plan.bytes,
        created_at=int(upload.created_at),
        expires_at=int(upload.expires_at),
        filename=upload.filename,
        purpose=upload.plan.purpose,
        status=upload.status,
        file=file_object(upload.file) if upload.file else None,
    )
