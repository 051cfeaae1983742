"""The short list of all that can be asked: each model by its bare name, each ready version as name:number.

Reads narrow rows, and few queries for any number of models; knows nothing of files and figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from app.db.ownership import LOCAL, visible
from app.db.paging import Page, cut
from app.db.tables import AliasRow, VersionRow
from app.errors import InvalidRequest, NotFound
from app.registry import repository
from app.registry.records import CHAMPION, Alias, ModelReference, show

COLUMNS = ("model", "version", "owner", "task", "architecture", "digest", "parameters", "created_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """`id` is a model reference, `version` the one that it means now."""

    id: str
    model: str
    version: int
    owner: str
    task: str
    architecture: str
    digest: str
    parameters: int
    created_at: float
    aliases: tuple[str, ...]


def page(session: Session, principal: str, after: str | None, limit: int) -> Page[Entry]:
    """By name; under a name the bare one first, then its versions, the newest first. `after`: an entry's id."""
    last = None if after is None else _place(session, after, principal)
    wanted = [VersionRow.status == repository.READY]
    if principal != LOCAL:
        wanted.append(VersionRow.owner == principal)
    if last is not None:
        wanted.append(_beyond(last))
    columns = [getattr(VersionRow, name) for name in COLUMNS]
    query = select(*columns).where(*wanted).order_by(VersionRow.model, VersionRow.version.desc())
    rows = session.execute(query.limit(limit + 1)).all()
    names = {row.model for row in rows}
    pointers = repository.aliases(session, names)
    fresh = names - ({last.name} if last is not None else set())
    here = and_(AliasRow.model == VersionRow.model, AliasRow.version == VersionRow.version)
    query = select(*columns).join(AliasRow, here)
    champions = session.execute(query.where(AliasRow.alias == CHAMPION, VersionRow.model.in_(fresh)))
    meant = {row.model: _entry(row, pointers) for row in champions}
    entries: list[Entry] = []
    for row in rows:
        entry = _entry(row, pointers)
        if row.model in fresh:
            fresh.discard(row.model)
            entries.append(replace(meant.get(row.model, entry), id=row.model))
        entries.append(entry)
    return cut(entries, limit)


def _place(session: Session, after: str, principal: str) -> ModelReference:
    """The entry that a page ended with."""
    try:
        found = ModelReference.parse(after)
    except InvalidRequest:
        found = ModelReference("")
    row = repository.model(session, found.name) if found.name and str(found) == after else None
    known = row is not None and visible(row.owner, principal)
    if known and found.version is not None:
        known = repository.version(session, found.name, found.version) is not None
    if not known or found.alias or found.digest or found.checkpoint:
        raise NotFound(f"after {show(after)} is no model of this list", code="model_not_found", param="after")
    return found


def _beyond(last: ModelReference) -> ColumnElement[bool]:
    rest = VersionRow.model == last.name
    if last.version is not None:
        rest = and_(rest, VersionRow.version < last.version)
    return or_(VersionRow.model > last.name, rest)


def _entry(row: Any, pointers: Sequence[Alias]) -> Entry:
    fields = {name: getattr(row, name) for name in COLUMNS}
    here = tuple(a.alias for a in pointers if (a.model, a.version) == (row.model, row.version))
    return Entry(id=f"{row.model}:{row.version}", aliases=here, **fields)
