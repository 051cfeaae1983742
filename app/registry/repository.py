"""The registry's SQL queries for models and versions. The functions return rows or records and never commit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Select, and_, func, select, text, update
from sqlalchemy.orm import Session, aliased

from app.checkpoint.directory import FileEntry, Manifest
from app.db.ownership import LOCAL
from app.db.tables import JobCheckpointRow, ModelRow, VersionRow
from app.registry.alias_repository import AliasNames, group_by_version, load_aliases
from app.registry.records import Model, Version

MOST_NAMES = 300  # the maximum number of names that an unknown name is compared with
READY, DELETED = "ready", "deleted"
DIGEST_LOCK = 0x0571_9F0B  # an arbitrary number that must never change


def parse_manifest(files: dict[str, Any]) -> Manifest:
    """Parse a manifest from a JSON column."""
    return {path: FileEntry(entry["sha256"], entry["size"]) for path, entry in files.items()}


def dump_manifest(files: Manifest) -> dict[str, Any]:
    """Convert a manifest to a value for a JSON column."""
    return {path: asdict(entry) for path, entry in files.items()}


# --- models -----------------------------------------------------------------------------------------------------


def find_model(session: Session, name: str, *, lock: bool = False) -> ModelRow | None:
    """Return a model's row, if any. If `lock` is true, lock the row until the transaction ends, and refresh it."""
    return session.get(ModelRow, name, with_for_update=lock, populate_existing=lock)


def add_model(session: Session, name: str, owner: str, now: float) -> None:
    """Insert the model, unless it already exists.

    If two transactions insert the same name, the second one waits until the first has ended.
    """
    session.execute(
        text(
            "INSERT INTO models (name, owner, next_version, created_at) VALUES (:name, :owner, 1, :now) "
            "ON CONFLICT (name) DO NOTHING"
        ),
        {"name": name, "owner": owner, "now": now},
    )


def take_number(session: Session, name: str) -> int:
    """Allocate a model's next version number. The row is locked, so no other transaction gets the same number.

    If the transaction is rolled back, the number becomes available again.
    """
    query = update(ModelRow).where(ModelRow.name == name).values(next_version=ModelRow.next_version + 1)
    return session.execute(query.returning(ModelRow.next_version)).scalar_one() - 1


def list_models(
    session: Session,
    principal: str,
    query: str | None,
    newest: Mapping[str, str],
    after: str | None,
    order: str,
    limit: int,
) -> list[Model]:
    """Load up to `limit + 1` models whose names contain `query`, ordered by name.

    `newest` maps columns to the values that they must have in the model's newest ready version.
    """
    statement = _select_with_newest()
    if principal != LOCAL:
        statement = statement.where(ModelRow.owner == principal)
    if query:
        statement = statement.where(ModelRow.name.contains(query.lower(), autoescape=True))
    statement = statement.where(*(getattr(VersionRow, name) == value for name, value in newest.items()))
    if after is not None:
        statement = statement.where(ModelRow.name > after if order == "asc" else ModelRow.name < after)
    statement = statement.order_by(ModelRow.name.asc() if order == "asc" else ModelRow.name.desc())
    return _load_models(session, statement.limit(limit + 1))


def load_model(session: Session, name: str) -> Model:
    """Load the record of an existing model."""
    return _load_models(session, _select_with_newest().where(ModelRow.name == name))[0]


def _select_with_newest() -> Select[ModelRow, VersionRow]:
    """Select models, each with its newest ready version, or None if there is none."""
    other = aliased(VersionRow)
    number = select(func.max(other.version)).where(other.model == ModelRow.name, other.status == READY)
    here = and_(VersionRow.model == ModelRow.name, VersionRow.version == number.scalar_subquery())
    return select(ModelRow, VersionRow).outerjoin(VersionRow, here)


def _load_models(session: Session, query: Select[ModelRow, VersionRow]) -> list[Model]:
    """Load the records of the selected models, with three queries regardless of the number of models."""
    rows = session.execute(query).all()
    names = [row.name for row, _ in rows]
    aliases = load_aliases(session, names)
    by_version = group_by_version(aliases)
    by_model = defaultdict[str, dict[str, int]](dict)  # model -> alias -> version
    for alias in aliases:
        by_model[alias.model][alias.alias] = alias.version
    by_name = select(VersionRow.model, func.count()).where(VersionRow.status != DELETED, VersionRow.model.in_(names))
    counts = {name: count for name, count in session.execute(by_name.group_by(VersionRow.model))}
    return [
        Model(
            name=row.name,
            owner=row.owner,
            created_at=row.created_at,
            versions=counts.get(row.name, 0),
            newest=make_version(newest, by_version) if newest is not None else None,
            aliases=by_model.get(row.name, {}),
        )
        for row, newest in rows
    ]


def visible_names(session: Session, principal: str) -> Sequence[str]:
    """Return the names of the newest models that the principal may see, up to `MOST_NAMES`."""
    query = select(ModelRow.name).order_by(ModelRow.created_at.desc(), ModelRow.name).limit(MOST_NAMES)
    return session.scalars(query if principal == LOCAL else query.where(ModelRow.owner == principal)).all()


# --- versions ---------------------------------------------------------------------------------------------------


def find_version(session: Session, name: str, number: int, *, lock: bool = False) -> VersionRow | None:
    """Return the row of a version of any status, or None if there is none."""
    query = select(VersionRow).where(VersionRow.model == name, VersionRow.version == number)
    return session.scalar(query.with_for_update() if lock else query)


def has_version(session: Session, digest: str, owner: str) -> bool:
    """Whether the owner has a version with this digest that is not deleted."""
    query = select(VersionRow.id).where(VersionRow.digest == digest, VersionRow.owner == owner)
    return session.scalar(query.where(VersionRow.status != DELETED).limit(1)) is not None


def lock_digest(session: Session, digest: str) -> None:
    """Hold the lock on the versions with this digest, and on their probes, until the transaction ends.

    The lock is needed to delete one of the versions, and to change the probes. The versions may belong to several
    models, so the locks on models do not suffice. On SQLite, no lock is needed, because writing transactions run one at
    a time.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(
            text("SELECT pg_advisory_xact_lock(:key, hashtext(:digest))"), {"key": DIGEST_LOCK, "digest": digest}
        )


def find_newest(session: Session, name: str, digest: str | None = None) -> VersionRow | None:
    """Return a model's newest ready version or, if `digest` is given, the newest one with this digest."""
    query = select(VersionRow).where(VersionRow.model == name, VersionRow.status == READY)
    if digest is not None:
        query = query.where(VersionRow.digest == digest)
    return session.scalar(query.order_by(VersionRow.version.desc()).limit(1))


def list_versions(
    session: Session, name: str, status: str | None, after: int | None, order: str, limit: int
) -> list[Version]:
    """Load up to `limit + 1` of a model's versions, ordered by number. If `status` is None, omits deleted versions."""
    query = select(VersionRow).where(VersionRow.model == name)
    query = query.where(VersionRow.status == status if status else VersionRow.status != DELETED)
    if after is not None:
        query = query.where(VersionRow.version > after if order == "asc" else VersionRow.version < after)
    query = query.order_by(VersionRow.version.asc() if order == "asc" else VersionRow.version.desc())
    return load_versions(session, query.limit(limit + 1))


def load_versions(session: Session, query: Select[VersionRow]) -> list[Version]:
    """Load the records of the selected versions, with two queries regardless of the number of versions."""
    rows = session.scalars(query).all()
    by_version = group_by_version(load_aliases(session, {row.model for row in rows}))
    return [make_version(row, by_version) for row in rows]


def load_version(session: Session, row: VersionRow) -> Version:
    """Load the record of one version."""
    return make_version(row, group_by_version(load_aliases(session, [row.model])))


def make_version(row: VersionRow, by_version: AliasNames) -> Version:
    """Convert a row to a record, with its aliases from `by_version`."""
    return Version(
        model=row.model,
        version=row.version,
        owner=row.owner,
        status=row.status,
        task=row.task,
        architecture=row.architecture,
        digest=row.digest,
        files=parse_manifest(row.files),
        config=row.config,
        parameters=row.parameters,
        metrics=row.metrics,
        aliases=tuple(by_version.get((row.model, row.version), ())),
        job_id=row.job_id,
        created_at=row.created_at,
        deleted_at=row.deleted_at,
    )


def select_registered(session: Session, digests: Collection[str]) -> set[str]:
    """Return the subset of `digests` that belong to a ready version or to a job's checkpoint."""
    ready = select(VersionRow.digest).where(VersionRow.status == READY, VersionRow.digest.in_(digests))
    checkpoints = select(JobCheckpointRow.digest).where(JobCheckpointRow.digest.in_(digests))
    return {*session.scalars(ready), *session.scalars(checkpoints)}


def find_references(session: Session, digests: Collection[str], owner: str) -> dict[str, str]:
    """Map `digests` to references. Omits digests for which `owner` has no ready version or job checkpoint.

    A version takes precedence over a checkpoint, and a newer version over an older one.
    """
    checkpoints = select(JobCheckpointRow.digest, JobCheckpointRow.id).where(
        JobCheckpointRow.owner == owner, JobCheckpointRow.digest.in_(digests)
    )
    ready = select(VersionRow.digest, VersionRow.model, VersionRow.version).where(
        VersionRow.status == READY, VersionRow.owner == owner, VersionRow.digest.in_(digests)
    )
    references = {row.digest: row.id for row in session.execute(checkpoints)}
    # Order by age, so that the newest of several versions with the same digest overwrites the others.
    rows = session.execute(ready.order_by(VersionRow.created_at, VersionRow.version))
    return references | {row.digest: f"{row.model}:{row.version}" for row in rows}


def count_ready(session: Session, digest: str, owner: str) -> int:
    """Return the number of the owner's ready versions with this digest."""
    query = select(func.count()).where(VersionRow.status == READY, VersionRow.digest == digest)
    return session.scalar(query.where(VersionRow.owner == owner)) or 0


def find_adapters(session: Session, base: str, owner: str) -> list[str]:
    """Return the references of the owner's ready versions that are adapters of the version with the digest `base`."""
    query = select(VersionRow.model, VersionRow.version).where(
        VersionRow.status == READY, VersionRow.owner == owner, VersionRow.config["adapter"]["base"].as_string() == base
    )
    return [f"{model}:{version}" for model, version in session.execute(query.order_by(VersionRow.id))]


def load_checkpoint(session: Session, id_: str) -> Version | None:
    """Load a job's checkpoint as a version with number 0, whose `model` is the checkpoint's id."""
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
        files=parse_manifest(row.files),
        config=row.config,
        parameters=0,
        metrics=row.metrics,
        aliases=(),
        job_id=row.job_id,
        created_at=row.created_at,
    )
