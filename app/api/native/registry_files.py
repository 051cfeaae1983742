"""Imports and exports checkpoints as tar archives, and serves a version's files, such as its card and plots."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from msgspec import UNSET
from starlette.responses import Response, StreamingResponse

from app.api.http.auth import Principal
from app.api.http.forms import Form, read_form
from app.api.http.replies import JsonReply, download
from app.api.http.services import Services, ServicesDep
from app.api.native.registry_objects import EXAMPLE, VersionObject, parse_number, version_object
from app.api.openapi.describe import COMMON, LOOKUP, failures, replies
from app.api.openapi.parameters import A_NAME
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
NO_SCRIPTS = (
    "default-src 'none'; style-src 'unsafe-inline'; sandbox"  # an SVG picture may contain a script, which must not run
)
_IMPORT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "A tar or tar.gz archive of a checkpoint directory",
                        },
                        "alias": {
                            "type": "string",
                            "pattern": f"^$|{A_NAME['pattern']}",
                            "examples": [""],
                            "description": "An alias that will point to the new version",
                        },
                        "expected_version": {
                            "type": "string",
                            "pattern": "^([0-9]{1,9}|none|null)?$",
                            "examples": [""],
                            "description": "The number of the version to which the alias must currently point, or none "
                            "for a new alias",
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
    return {200: {"description": what, "content": content}, **failures(*LOOKUP)}


@router.post(
    "",
    operation_id="import_model_version",
    summary="Import a checkpoint",
    description=(
        "Registers a tar archive of a checkpoint directory as the next version of the model. An archive that contains "
        "a pickle is rejected."
    ),
    response_model=None,
    openapi_extra=_IMPORT,
    responses=replies(VersionObject, EXAMPLE, (*COMMON, 409)),
)
def import_version(
    services: ServicesDep, principal: Principal, name: str, form: Annotated[Form, Depends(read_form)]
) -> Response:
    form.check_names(FIELDS)
    alias, expected = form.optional("alias"), form.optional("expected_version")
    if expected is not None and alias is None:
        raise InvalidRequest("expected_version requires alias, which is missing", param="expected_version")
    version = services.registry.import_tar(
        form.file("file").pieces(),
        name=name,
        principal=principal,
        limit=services.settings.max_upload_bytes,
        alias=alias,
        expected_version=UNSET if expected is None else _expected(expected),
    )
    return JsonReply(version_object(version))


def _expected(text: str) -> int | None:
    if text in ("none", "null"):
        return None
    return parse_number(text, "expected_version must be a version number, or none", "expected_version")


@router.get(
    "/{version}/export",
    operation_id="export_model_version",
    summary="Export a version",
    response_class=StreamingResponse,
    description="Returns the checkpoint directory as a tar archive. Repeated downloads return the same bytes.",
    response_model=None,
    responses=_binary("application/x-tar", "A tar archive of the checkpoint directory"),
)
def export(services: ServicesDep, principal: Principal, name: str, version: int) -> Response:
    record = _ready(services, principal, name, version)
    tar = services.registry.export_tar(record)
    return download(tar.pieces, f"{record.model}-{record.version}.tar", tar.size, "application/x-tar")


@router.get(
    "/{version}/files/{path:path}",
    operation_id="retrieve_version_file",
    summary="Download a file of a version",
    response_class=StreamingResponse,
    description=("Returns one of the version's `files`, such as its model card, `metrics.json` or `plots/loss.svg`."),
    response_model=None,
    responses=_binary("application/octet-stream", "The file, in its own media type"),
)
def retrieve_file(
    services: ServicesDep, principal: Principal, request: Request, name: str, version: int, path: str
) -> Response:
    record = _ready(services, principal, name, version)
    # The path is only looked up in the version's list of files, so the client's path never reaches the file system.
    entry = record.files.get(path)
    if entry is None:
        names = ", ".join(record.files)
        raise NotFound(
            f"{record.ref} has no file {path[:100]!a}; its files are {names}", code="file_not_found", param="path"
        )
    tag = f'"{entry.sha256}"'
    headers = {
        "etag": tag,
        "cache-control": "private, max-age=31536000, immutable",
        "content-security-policy": NO_SCRIPTS,
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    headers["content-length"] = str(entry.size)
    media = MEDIA.get(PurePosixPath(path).suffix, "application/octet-stream")
    return StreamingResponse(services.registry.blobs.open(entry.sha256), headers=headers, media_type=media)


def _ready(services: Services, principal: str, name: str, version: int) -> Version:
    record = services.registry.get(name, version, principal)
    if record.status != READY:
        raise NotFound(
            f"the files of {record.ref} are not available, because the version is {record.status}",
            code="version_not_ready",
        )
    return record
