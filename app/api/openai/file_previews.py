"""`GET /v1/files/{file_id}/preview`: the first rows of an uploaded file."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.openapi.describe import LOOKUP, replies
from app.api.openapi.parameters import FILE_ID
from app.wire.preview import DetectedRoles

router = APIRouter(prefix="/v1/files", tags=["files"])


class FilePreview(msgspec.Struct, frozen=True):
    """The first rows of a file. `format` is the format in which the content is read, even if the file's name suggests
    another format.

    `rows` contains the cells of each row, in the order of `columns`. If `columns` is null, the file is plain text or
    cannot be read as a table, and `lines` contains its first lines. `problem` states why the file, or the rows after
    the shown ones, cannot be read. `detected` contains the task and the column of each role, or is null if they are
    unknown. If `detected.guessed` is true, a training request must name these columns.
    """

    id: str
    object: str
    format: str
    columns: list[str] | None
    rows: list[list[str]]
    lines: list[str]
    problem: str | None
    detected: DetectedRoles | None


PREVIEW: dict[str, Any] = {
    "id": FILE_ID,
    "object": "file.preview",
    "format": "parquet",
    "columns": ["body", "mood"],
    "rows": [["arrived broken", "bad"], ["as described", "good"]],
    "lines": [],
    "problem": None,
    "detected": {"task": "classification", "columns": {"text": "body", "label": "mood"}, "guessed": True},
}


@router.get(
    "/{file_id}/preview",
    operation_id="preview_file",
    summary="Preview a file",
    description=(
        "Returns the first rows of a data file as the trainer reads them. All formats that training supports can be "
        "previewed. Cells are texts; long cells are cut. Fails with `no_preview` for a file that cannot be read within "
        "fixed limits on size, memory and time."
    ),
    response_model=None,
    responses=replies(FilePreview, PREVIEW, (*LOOKUP, 429, 503)),
)
def preview(services: ServicesDep, principal: Principal, file_id: str) -> Response:
    shown = services.previews.preview(file_id, principal)
    values = msgspec.structs.asdict(shown)
    return JsonReply(FilePreview(id=file_id, object="file.preview", **values))
