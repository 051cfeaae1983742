"""Checkpoints in and out of the registry as tars, and single files of a version (its card, figures and plots).

Knows HTTP; what a checkpoint may hold is the registry's to say. A file is found in the version's own list of files,
never by a path of the client's making.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from msgspec import UNSET
from starlette.responses import Response, StreamingResponse

from app.api.http.auth import Principal
from app.api.http.context import Services, ServicesDep
from app.api.http.forms import Form, read_form
from app.api.http.replies import JsonReply, download
from app.api.native.registry_objects import EXAMPLE, VersionObject, number_of, version_object
from app.api.openapi.describe import COMMON, failures, replies
from app.errors import InvalidRequest, NotFound
from app.registry.records import Version

router = APIRouter(prefix="/v1/registry/models/{name}/versions", tags=["registry"])

READY = "ready"
FIELDS = ("file", "alias", "expected_version")
MEDIA = {
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
INERT = "default-src 'none'; style-src 'unsafe-inline'; sandbox"  # a picture runs nothing, whoever drew it
_IMPORT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "a tar (or tar.gz) of a checkpoint directory",
                        },
                        "alias": {"type": "string", "description": "an alias to point at the new version"},
                        "expected_version": {
                            "type": "string",
                            "description": "where that alias must be now: a number, or none",
                        },
                    },
                },
                "example": {"file": "(bytes of a tar)", "alias": "champion"},
            }
        },
    }
}


def _binary(kind: str, what: str) -> dict[int | str, dict[str, Any]]:
    content = {kind: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": what, "content": content}, **failures(*COMMON, 404)}


@router.post(
    "",
    operation_id="import_model_version",
    summary="Import a checkpoint",
    description="Registers a tar of a checkpoint directory as the next version. It holds data alone: never a pickle.",
    response_model=None,
    openapi_extra=_IMPORT,
    responses=replies(VersionObject, EXAMPLE, (*COMMON, 409)),
)
def import_version(
    context: ServicesDep, principal: Principal, name: str, form: Annotated[Form, Depends(read_form)]
) -> Response:
    form.check_names(FIELDS)
    alias, expected = form.fields.get("alias"), form.fields.get("expected_version")
    if expected is not None and alias is None:
        raise InvalidRequest("expected_version belongs to an alias; alias is missing", param="expected_version")
    version = context.registry.import_tar(
        form.file("file").pieces(),
        name=name,
        principal=principal,
        limit=context.settings.max_upload_bytes,
        alias=alias,
        expected_version=UNSET if expected is None else _expected(expected),
    )
    return JsonReply(version_object(version))


def _expected(text: str) -> int | None:
    if text in ("none", "null"):
        return None
    return number_of(text, "expected_version must be a number, or none", "expected_version")


@router.get(
    "/{version}/export",
    operation_id="export_model_version",
    summary="Export a version",
    response_class=StreamingResponse,
    description="The checkpoint directory as a tar: the same bytes each time.",
    response_model=None,
    responses=_binary("application/x-tar", "A tar of the checkpoint directory"),
)
def export(context: ServicesDep, principal: Principal, name: str, version: int) -> Response:
    found = _ready(context, principal, name, version)
    packed = context.registry.export_tar(found)
    return download(packed.pieces, f"{found.model}-{found.version}.tar", packed.size, "application/x-tar")


@router.get(
    "/{version}/files/{path:path}",
    operation_id="retrieve_version_file",
    summary="Read one file of a version",
    response_class=StreamingResponse,
    description="The model card, `metrics.json`, `results.csv`, `plots/loss.svg`: any path of the version's `files`.",
    response_model=None,
    responses=_binary("application/octet-stream", "The file, in its own media type"),
)
def retrieve_file(
    context: ServicesDep, principal: Principal, request: Request, name: str, version: int, path: str
) -> Response:
    found = _ready(context, principal, name, version)
    entry = found.files.get(path)
    if entry is None:
        has = ", ".join(found.files)
        raise NotFound(f"{found.ref} has no file {path[:100]!a}; it has {has}", code="file_not_found", param="path")
    tag = f'"{entry.sha256}"'
    headers = {
        "etag": tag,
        "cache-control": "private, max-age=31536000, immutable",
        "content-security-policy": INERT,
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    headers["content-length"] = str(entry.size)
    media = MEDIA.get(PurePosixPath(path).suffix, "application/octet-stream")
    return StreamingResponse(context.registry.blobs.open(entry.sha256), headers=headers, media_type=media)


def _ready(context: Services, principal: str, name: str, version: int) -> Version:
    found = context.registry.get(name, version, principal)
    if found.status != READY:
        raise NotFound(f"{found.ref} is {found.status}, so its files are not there", code="version_not_ready")
    return found
