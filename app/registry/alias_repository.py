"""The registry's SQL queries for aliases and their moves. The functions return records and never commit."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import AliasMoveRow, AliasRow
from app.registry.records import Abstention, Alias, AliasMove

AliasNames = dict[tuple[str, int], list[str]]  # (model, version) -> the aliases that point to it


def load_aliases(session: Session, names: Iterable[str]) -> list[Alias]:
    """Load the aliases of some models, ordered by model and alias."""
    query = select(AliasRow).where(AliasRow.model.in_(list(names))).order_by(AliasRow.model, AliasRow.alias)
    return [make_alias(row) for row in session.scalars(query)]


def group_by_version(aliases: Iterable[Alias]) -> AliasNames:
    """Group alias names by the version they point to.

    With this dict, finding the aliases of many versions takes linear instead of quadratic time.
    """
    names: AliasNames = {}
    for alias in aliases:
        names.setdefault((alias.model, alias.version), []).append(alias.alias)
    return names


def make_alias(row: AliasRow) -> Alias:
    """Convert a row to a record."""
    return Alias(
        model=row.model,
        alias=row.alias,
        version=row.version,
        required=row.required,
        updated_at=row.updated_at,
        abstention=abstention_of(row),
    )


def abstention_of(row: AliasRow | AliasMoveRow) -> Abstention:
    """Return the abstention that a row stores."""
    return Abstention(row.abstain_below, row.max_risk)


def load_all_aliases(session: Session, *, required: bool = False) -> list[Alias]:
    """Load the aliases of all models and owners or, if `required` is true, only the required ones."""
    query = select(AliasRow).order_by(AliasRow.model, AliasRow.alias)
    if required:
        query = query.where(AliasRow.required)
    return [make_alias(row) for row in session.scalars(query)]


def is_move(session: Session, name: str, alias: str, id_: int) -> bool:
    """Whether the alias has a move with the id `id_`."""
    query = select(AliasMoveRow.id).where(AliasMoveRow.id == id_)
    return session.scalar(query.where(AliasMoveRow.model == name, AliasMoveRow.alias == alias)) is not None


def list_moves(session: Session, name: str, alias: str, after: int | None, order: str, limit: int) -> list[AliasMove]:
    """Load up to `limit + 1` of an alias's moves, ordered by id."""
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
            abstention=abstention_of(row),
        )
        for row in session.scalars(query)
    ]
