"""Moving aliases: compare, set, write the history. The caller holds the lock on the model's row.

Knows the rules of aliases; knows nothing of who may see a model.
"""

from __future__ import annotations

from msgspec import UNSET, UnsetType
from sqlalchemy.orm import Session

from app.db.tables import AliasMoveRow, AliasRow, ModelRow
from app.errors import Conflict, NotFound
from app.registry import repository
from app.registry.records import NUMBER_LIMIT, Alias, check_name, show

Expected = int | None | UnsetType  # the version that the alias must be at; None: it must not exist; UNSET: any


def move(
    session: Session,
    model: ModelRow,
    alias: str,
    version: int,
    *,
    principal: str,
    now: float,
    expected: Expected = UNSET,
    required: bool | None = None,
) -> Alias:
    """Point `alias` at a ready version; `required` None leaves that mark as it is."""
    check_name(alias, "alias")
    target = repository.version(session, model.name, version) if 0 < version < NUMBER_LIMIT else None
    if target is None or target.status != repository.READY:
        raise NotFound(f"model {model.name!r} has no ready version {version}", code="version_not_found")
    row = session.get(AliasRow, (model.name, alias), populate_existing=True)
    before = row.version if row is not None else None
    _compare(alias, before, expected)
    if row is None:
        row = AliasRow(model=model.name, alias=alias, required=False, owner=model.owner)
        session.add(row)
    row.version, row.updated_at = version, now
    row.required = row.required if required is None else required
    if before != version:
        _log(session, row, before, version, principal, now)
    session.flush()
    return repository.pointer(row)


def remove(
    session: Session, model: ModelRow, alias: str, *, principal: str, now: float, expected: Expected = UNSET
) -> None:
    row = session.get(AliasRow, (model.name, alias), populate_existing=True)
    if row is None:
        raise NotFound(f"model {model.name!r} has no alias {show(alias)}", code="alias_not_found", param="alias")
    _compare(alias, row.version, expected)
    _log(session, row, row.version, None, principal, now)
    session.delete(row)


def _log(session: Session, row: AliasRow, before: int | None, after: int | None, principal: str, now: float) -> None:
    session.add(
        AliasMoveRow(
            model=row.model,
            alias=row.alias,
            from_version=before,
            to_version=after,
            principal=principal,
            created_at=now,
        )
    )


def _compare(alias: str, actual: int | None, expected: Expected) -> None:
    if expected is UNSET or expected == actual:
        return
    now = "does not exist" if actual is None else f"is at version {actual}"
    wanted = "not to exist" if expected is None else f"to be at version {expected}"
    raise Conflict(
        f"alias {alias!r} {now}; it was expected {wanted}",
        code="alias_conflict",
        param="expected_version",
        retryable=False,
    )
