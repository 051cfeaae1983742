"""Loads the catalog for `GET /v1/models`.

The catalog lists each model by its bare name, and each ready version as name:number. Reads only the columns that are
shown. The number of queries does not depend on the number of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from app.db.ownership import LOCAL, visible
from app.db.paging import Page, cut
from app.db.tables import AliasRow, VersionRow
from app.errors import InvalidRequest, NotFound
from app.registry import alias_repository, repository
from app.registry.records import CHAMPION, ModelReference, show

COLUMNS = ("model", "version", "owner", "task", "architecture", "digest", "parameters", "created_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A catalog entry. `id` is a model reference that currently resolves to the version number `version`."""

    id: str
    model: str
    version: int
    owner: str
    task: str
    architecture: str
    digest: str
    parameters: int
    created_at: float
    input: str
    aliases: tuple[str, ...]


def load_page(session: Session, principal: str, after: str | None, limit: int) -> Page[Entry]:
    """Load a page of entries, ordered by model name. Each model's entry is followed by its versions, newest first.

    `after` is the id of an entry. Raises NotFound (`model_not_found`) if there is no such entry.
    """
    last = None if after is None else _parse_after(session, after, principal)
    conditions = [VersionRow.status == repository.READY]
    if principal != LOCAL:
        conditions.append(VersionRow.owner == principal)
    if last is not None:
        conditions.append(_follows(last))
    query = select(*_columns()).where(*conditions).order_by(VersionRow.model, VersionRow.version.desc())
    rows = session.execute(query.limit(limit + 1)).all()
    names = {row.model for row in rows}
    by_version = alias_repository.group_by_version(alias_repository.load_aliases(session, names))
    unlisted = names - ({last.name} if last is not None else set())  # models whose bare name belongs on this page
    champions = {row.model: _make_entry(row, by_version) for row in _load_champions(session, unlisted)}
    entries: list[Entry] = []
    for row in rows:
        entry = _make_entry(row, by_version)
        if row.model in unlisted:
            unlisted.discard(row.model)
            # Rows are ordered newest first, so if there is no champion, the bare name means this version.
            entries.append(replace(champions.get(row.model, entry), id=row.model))
        entries.append(entry)
    return cut(entries, limit)


def _columns() -> list[ColumnElement[Any]]:
    input_ = func.coalesce(VersionRow.config["input"].as_string(), "tokens").label("input")
    return [*(getattr(VersionRow, name) for name in COLUMNS), input_]


def _load_champions(session: Session, names: Iterable[str]) -> Sequence[Any]:
    """Load the columns of some models' champion versions."""
    here = and_(AliasRow.model == VersionRow.model, AliasRow.version == VersionRow.version)
    query = select(*_columns()).join(AliasRow, here)
    return session.execute(query.where(AliasRow.alias == CHAMPION, VersionRow.model.in_(names))).all()


def _parse_after(session: Session, after: str, principal: str) -> ModelReference:
    """Parse `after`, which must be the bare name of a visible model or a reference to one of its versions."""
    try:
        reference = ModelReference.parse(after)
    except InvalidRequest:
        reference = ModelReference("")
    row = repository.find_model(session, reference.name) if reference.name and str(reference) == after else None
    exists = row is not None and visible(row.owner, principal)
    if exists and reference.version is not None:
        exists = repository.find_version(session, reference.name, reference.version) is not None
    if not exists or reference.alias or reference.digest or reference.checkpoint:
        message = f"after must be the id of an entry in this list, not {show(after)}"
        raise NotFound(message, code="model_not_found", param="after")
    return reference


def _follows(last: ModelReference) -> ColumnElement[bool]:
    """Return a condition that selects the versions after the entry `last`."""
    same_model = VersionRow.model == last.name
    if last.version is not None:
        same_model = and_(same_model, VersionRow.version < last.version)
    return or_(VersionRow.model > last.name, same_model)


def _make_entry(row: Any, by_version: alias_repository.AliasNames) -> Entry:
    fields = {name: getattr(row, name) for name in (*COLUMNS, "input")}
    aliases = tuple(by_version.get((row.model, row.version), ()))
    return Entry(id=f"{row.model}:{row.version}", aliases=aliases, **fields)
