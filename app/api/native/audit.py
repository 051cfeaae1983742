"""`/v1/audit`: the log of changes, for operators."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.openapi.describe import LOOKUP, replies
from app.api.openapi.parameters import OWN_MODEL, Order
from app.db import audit
from app.db.audit import AuditEntry

router = APIRouter(tags=["operations"])


class AuditObject(msgspec.Struct, frozen=True):
    """A change made with an API key. `subject` is the id in the reply, such as `mood:3`, or empty if there is none."""

    id: int
    object: str
    principal: str
    method: str
    path: str
    subject: str
    status: int
    request_id: str
    created_at: int


class AuditList(msgspec.Struct, frozen=True):
    """A page of the audit log."""

    object: str
    data: list[AuditObject]
    has_more: bool


_ENTRY: dict[str, Any] = {
    "id": 12,
    "object": "audit.entry",
    "principal": "ann",
    "method": "PUT",
    "path": "/v1/registry/models/mood/aliases/champion",
    "subject": f"{OWN_MODEL}@champion",
    "status": 200,
    "request_id": "req-5c1f0e",
    "created_at": 1745383065,
}


@router.get(
    "/v1/audit",
    operation_id="list_audit_entries",
    summary="List the changes that were made with API keys",
    description=(
        "Returns the changes to versions, aliases, files, jobs, evaluations, batches and webhook endpoints, the latest "
        "change first. A change appears in the log within a second. Requires the operator scope."
    ),
    response_model=None,
    responses=replies(AuditList, {"object": "list", "data": [_ENTRY], "has_more": False}, LOOKUP),
)
def list_audit_entries(
    services: ServicesDep, after: int | None = None, limit: int = 100, order: Order = None
) -> Response:
    page = audit.load(services.database, after, limit, order or "desc")
    return JsonReply(AuditList("list", [_object(entry) for entry in page.items], page.has_more))


def _object(entry: AuditEntry) -> AuditObject:
    change = entry.change
    return AuditObject(
        entry.id,
        "audit.entry",
        change.principal,
        change.method,
        change.path,
        change.subject,
        change.status,
        change.request_id,
        int(change.created_at),
    )
