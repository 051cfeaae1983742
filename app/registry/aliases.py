"""Moves, removes and lists aliases, and records their history.

The caller must check that the principal may see the model and must lock the model's row before changing an alias.
"""

from __future__ import annotations

from msgspec import UNSET, UnsetType
from sqlalchemy.orm import Session

from app.db.paging import Page, cut
from app.db.tables import AliasMoveRow, AliasRow, ModelRow, VersionRow
from app.errors import Conflict, InvalidRequest, NotFound
from app.registry import alias_repository, repository
from app.registry.records import NUMBER_LIMIT, Abstention, Alias, AliasMove, check_name, show

LABELLED, CALIBRATION = ("classification", "multilabel"), "calibration.json"
NewAbstention = Abstention | UnsetType  # UNSET: the alias keeps its abstention
MOVE_LIMIT = 2**63  # above the largest id that a row can have
Expected = int | None | UnsetType  # the version that the alias must point to; None: no alias; UNSET: not checked


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
    loads: bool = True,
    abstention: NewAbstention = UNSET,
) -> Alias:
    """Point `alias` to a ready version, creating it if needed.

    If `required` is None, the alias keeps its `required` flag; if `abstention` is UNSET, it keeps its abstention.
    `loads` indicates whether the version has been loaded without errors. A required alias must not point to a version
    that may fail to load, because the service would then never become ready. Raises InvalidRequest
    (`version_not_loaded`) for such a version, InvalidRequest if the version does not support the `abstention`, NotFound
    (`version_not_found`) if there is no such ready version, and Conflict (`alias_conflict`) if the alias does not point
    to the `expected` version.
    """
    check_name(alias, "alias")
    target = repository.find_version(session, model.name, version) if 0 < version < NUMBER_LIMIT else None
    if target is None or target.status != repository.READY:
        raise NotFound(f"model {model.name!r} has no ready version {version}", code="version_not_found")
    # populate_existing: read the current row under the lock, even if the session has already loaded an older one.
    row = session.get(AliasRow, (model.name, alias), populate_existing=True)
    before = row.version if row is not None else None
    _compare(alias, before, expected)
    if row is None:
        row = AliasRow(model=model.name, alias=alias, required=False, owner=model.owner)
        session.add(row)
    row.version, row.updated_at = version, now
    row.required = row.required if required is None else required
    if row.required and not loads:
        raise InvalidRequest(
            f"the alias {alias!r} is required, so it may only point to a version that has been loaded; register the "
            "version without the alias, then move the alias",
            code="version_not_loaded",
            param="alias",
        )
    if _set_abstention(row, target, abstention) or before != version:
        _log(session, row, before, version, principal, now)
    session.flush()
    return alias_repository.make_alias(row)


def _set_abstention(row: AliasRow, version: VersionRow, abstention: NewAbstention) -> bool:
    """Change the abstention of an alias that points to `version`. Returns whether it has changed."""
    if abstention is UNSET:
        return False
    _check_abstention(abstention, version)
    if abstention == alias_repository.abstention_of(row):
        return False
    row.abstain_below, row.max_risk = abstention.abstain_below, abstention.max_risk
    return True


def _check_abstention(abstention: Abstention, version: VersionRow) -> None:
    """Raise InvalidRequest if the version does not predict labels, or lacks a calibration for `max_risk`."""
    if abstention == Abstention():
        return
    ref = f"{version.model}:{version.version}"
    if version.task not in LABELLED:
        message = f"abstention applies to labels, but the task of {ref} is {version.task}"
        raise InvalidRequest(message, code="wrong_task", param="abstention")
    if abstention.max_risk is not None and CALIBRATION not in version.files:
        message = f"max_risk requires a calibration, but {ref} has none; train the model again, or use abstain_below"
        raise InvalidRequest(message, code="no_calibration", param="abstention.max_risk")


def remove(
    session: Session, model: ModelRow, alias: str, *, principal: str, now: float, expected: Expected = UNSET
) -> None:
    """Remove `alias`. Raises NotFound (`alias_not_found`) or Conflict (`alias_conflict`)."""
    row = session.get(AliasRow, (model.name, alias), populate_existing=True)
    if row is None:
        raise NotFound(f"model {model.name!r} has no alias {show(alias)}", code="alias_not_found", param="alias")
    _compare(alias, row.version, expected)
    _log(session, row, row.version, None, principal, now)
    session.delete(row)


def load_history(session: Session, name: str, alias: str, after: int | None, order: str, limit: int) -> Page[AliasMove]:
    """Load an alias's moves, ordered by id. Raises NotFound (`move_not_found`) if `after` is not one of the moves."""
    if after is not None and not (0 < after < MOVE_LIMIT and alias_repository.is_move(session, name, alias, after)):
        raise NotFound(
            f"after must be the id of a move of {name}@{alias}, not {after}", code="move_not_found", param="after"
        )
    return cut(alias_repository.list_moves(session, name, alias, after, order, limit), limit)


def _log(
    session: Session, row: AliasRow, from_version: int | None, to_version: int | None, principal: str, now: float
) -> None:
    session.add(
        AliasMoveRow(
            model=row.model,
            alias=row.alias,
            from_version=from_version,
            to_version=to_version,
            principal=principal,
            created_at=now,
            abstain_below=row.abstain_below if to_version is not None else None,
            max_risk=row.max_risk if to_version is not None else None,
        )
    )


def _compare(alias: str, actual: int | None, expected: Expected) -> None:
    if expected is UNSET or expected == actual:
        return
    actual_state = "does not exist" if actual is None else f"points to version {actual}"
    expected_state = "that it does not exist" if expected is None else f"version {expected}"
    raise Conflict(
        f"alias {alias!r} {actual_state}, but the request expects {expected_state}",
        code="alias_conflict",
        param="expected_version",
        retryable=False,
    )
