"""The registry's SQL: rows in, records out. Knows tables; decides nothing and commits nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Select, and_, func, select, text, update
from sqlalchemy.orm import Session, aliased

from app.checkpoint.directory import FileEntry, Manifest
from app.db.ownership import LOCAL
from app.db.tables import AliasMoveRow, AliasRow, JobCheckpointRow, ModelRow, VersionRow
from app.registry.records import Alias, AliasMove, Model, Version

READY, DELETED = "ready", "deleted"


def entries(files: dict[str, Any]) -> Manifest:
    return {path: FileEntry(entry["sha256"], entry["size"]) for path, entry in files.items()}


def plain(files: Manifest) -> dict[str, Any]:
    return {path: asdict(entry) for path, entry in files.items()}


# --- models -----------------------------------------------------------------------------------------------------


def model(session: Session, name: str, *, lock: bool = False) -> ModelRow | None:
    return session.get(ModelRow, name, with_for_update=lock, populate_existing=lock)


def add_model(session: Session, name: str, owner: str, now: float) -> None:
    """Make the model unless it is there; of two at once, one makes it and the other waits and finds it."""
    session.execute(
        text(
            "INSERT INTO models (name, owner, next_version, created_at) VALUES (:name, :owner, 1, :now) "
            "ON CONFLICT (name) DO NOTHING"
        ),
        {"name": name, "owner": owner, "now": now},
    )


def take_number(session: Session, name: str) -> int:
    """The next version number; no other transaction gets it, and none is skipped unless this one fails."""
    query = update(ModelRow).where(ModelRow.name == name).values(next_version=ModelRow.next_version + 1)
    return session.execute(query.returning(ModelRow.next_version)).scalar_one() - 1


def models(
    session: Session,
    principal: str,
    query: str | None,
    newest: Mapping[str, str],
    after: str | None,
    order: str,
    limit: int,
) -> list[Model]:
    """`query` is a part of names; `newest`: columns of the newest ready version and what they must hold."""
    statement = _with_newest()
    if principal != LOCAL:
        statement = statement.where(ModelRow.owner == principal)
    if query:
        statement = statement.where(ModelRow.name.contains(query.lower(), autoescape=True))
    statement = statement.where(*(getattr(VersionRow, name) == value for name, value in newest.items()))
    if after is not None:
        statement = statement.where(ModelRow.name > after if order == "asc" else ModelRow.name < after)
    statement = statement.order_by(ModelRow.name.asc() if order == "asc" else ModelRow.name.desc())
    return _described(session, statement.limit(limit + 1))


def described(session: Session, name: str) -> Model:
    """One model, which must be there."""
    return _described(session, _with_newest().where(ModelRow.name == name))[0]


def _with_newest() -> Select[ModelRow, VersionRow]:
    other = aliased(VersionRow)
    number = select(func.max(other.version)).where(other.model == ModelRow.name, other.status == READY)
    here = and_(VersionRow.model == ModelRow.name, VersionRow.version == number.scalar_subquery())
    return select(ModelRow, VersionRow).outerjoin(VersionRow, here)


def _described(session: Session, query: Select[ModelRow, VersionRow]) -> list[Model]:
    """In three queries, however many models they are."""
    rows = session.execute(query).all()
    names = [row.name for row, _ in rows]
    pointers = aliases(session, names)
    counted = select(VersionRow.model, func.count()).where(VersionRow.status != DELETED, VersionRow.model.in_(names))
    counts = {name: count for name, count in session.execute(counted.group_by(VersionRow.model))}
    return [
        Model(
            name=row.name,
            owner=row.owner,
            created_at=row.created_at,
            versions=counts.get(row.name, 0),
            newest=record(newest, pointers) if newest is not None else None,
            aliases={a.alias: a.version for a in pointers if a.model == row.name},
        )
        for row, newest in rows
    ]


# --- versions ---------------------------------------------------------------------------------------------------


def version(session: Session, name: str, number: int, *, lock: bool = False) -> VersionRow | None:
    query = select(VersionRow).where(VersionRow.model == name, VersionRow.version == number)
    return session.scalar(query.with_for_update() if lock else query)


def newest(session: Session, name: str, digest: str | None = None) -> VersionRow | None:
    """The newest ready version, of this digest where one is given."""
    query = select(VersionRow).where(VersionRow.model == name, VersionRow.status == READY)
    if digest is not None:
        query = query.where(VersionRow.digest == digest)
    return session.scalar(query.order_by(VersionRow.version.desc()).limit(1))


def versions(
    session: Session, name: str, status: str | None, after: int | None, order: str, limit: int
) -> list[Version]:
    query = select(VersionRow).where(VersionRow.model == name)
    query = query.where(VersionRow.status == status if status else VersionRow.status != DELETED)
    if after is not None:
        query = query.where(VersionRow.version > after if order == "asc" else VersionRow.version < after)
    query = query.order_by(VersionRow.version.asc() if order == "asc" else VersionRow.version.desc())
    return records(session, query.limit(limit + 1))


def records(session: Session, query: Select[VersionRow]) -> list[Version]:
    rows = session.scalars(query).all()
    pointers = aliases(session, {row.model for row in rows})
    return [record(row, pointers) for row in rows]


def record(row: VersionRow, pointers: Iterable[Alias]) -> Version:
    return Version(
        model=row.model,
        version=row.version,
        owner=row.owner,
        status=row.status,
        task=row.task,
        architecture=row.architecture,
        digest=row.digest,
        files=entries(row.files),
        config=row.config,
        parameters=row.parameters,
        metrics=row.metrics,
        aliases=tuple(a.alias for a in pointers if (a.model, a.version) == (row.model, row.version)),
        job_id=row.job_id,
        created_at=row.created_at,
        deleted_at=row.deleted_at,
    )


def registered(session: Session, digests: Collection[str]) -> set[str]:
    """Those that something loadable has."""
    ready = select(VersionRow.digest).where(VersionRow.status == READY, VersionRow.digest.in_(digests))
    kept = select(JobCheckpointRow.digest).where(JobCheckpointRow.digest.in_(digests))
    return {*session.scalars(ready), *session.scalars(kept)}


def references(session: Session, digests: Collection[str], owner: str) -> dict[str, str]:
    """By what `owner` calls those of the digests that it has something loadable of; the newest name counts."""
    ready = select(VersionRow).where(
        VersionRow.status == READY, VersionRow.owner == owner, VersionRow.digest.in_(digests)
    )
    kept = select(JobCheckpointRow).where(JobCheckpointRow.owner == owner, JobCheckpointRow.digest.in_(digests))
    found = {row.digest: row.id for row in session.scalars(kept)}
    rows = session.scalars(ready.order_by(VersionRow.created_at, VersionRow.version))
    return found | {row.digest: f"{row.model}:{row.version}" for row in rows}


def checkpoint(session: Session, id_: str) -> Version | None:
    """A checkpoint of a job in the shape of a version."""
    row = session.get(JobCheckpointRow, id_)
    if row is None:
        return None
    return Version(
        model=row.id,
        version=0,
        owner=row.owner,
        status=READY,
        task=row.config["task"],
        architecture=row.config["architecture"],
        digest=row.digest,
        files=entries(row.files),
        config=row.config,
        parameters=0,
        metrics=row.metrics,
        aliases=(),
        job_id=row.job_id,
        created_at=row.created_at,
    )


# --- aliases ----------------------------------------------------------------------------------------------------


def aliases(session: Session, names: Iterable[str]) -> list[Alias]:
    query = select(AliasRow).where(AliasRow.model.in_(list(names))).order_by(AliasRow.model, AliasRow.alias)
    return [pointer(row) for row in session.scalars(query)]


def pointer(row: AliasRow) -> Alias:
    return Alias(
        model=row.model, alias=row.alias, version=row.version, required=row.required, updated_at=row.updated_at
    )


def every_alias(session: Session, *, required: bool = False) -> list[Alias]:
    query = select(AliasRow).order_by(AliasRow.model, AliasRow.alias)
    if required:
        query = query.where(AliasRow.required)
    return [pointer(row) for row in session.scalars(query)]


def moved(session: Session, name: str, alias: str, id_: int) -> bool:
    """Whether this is a move of that alias."""
    query = select(AliasMoveRow.id).where(AliasMoveRow.id == id_)
    return session.scalar(query.where(AliasMoveRow.model == name, AliasMoveRow.alias == alias)) is not None


def history(session: Session, name: str, alias: str, after: int | None, order: str, limit: int) -> list[AliasMove]:
    query = select(AliasMoveRow).where(AliasMoveRow.model == name, AliasMoveRow.alias == alias)
    if after is not None:
        query = query.where(AliasMoveRow.id > after if order == "asc" else AliasMoveRow.id < after)
    query = query.order_by(AliasMoveRow.id.asc() if order == "asc" else AliasMoveRow.id.desc()).limit(limit + 1)
    return [
        AliasMove(
            id=row.id,
            model=row.model,
            alias=row.alias,
            from_version=row.from_version,
            to_version=row.to_version,
            principal=row.principal,
            created_at=row.created_at,
        )
        for row in session.scalars(query)
    ]
