"""What a model reference means now. Knows the rules of names, aliases and owners; changes nothing."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.db.tables import AliasRow, ModelRow, VersionRow
from app.errors import InvalidRequest, NotFound
from app.registry import repository
from app.registry.records import CHAMPION, NAME, NUMBER_LIMIT, ModelReference, Version, show, visible


def resolve(session: Session, reference: str, principal: str) -> Version:
    """The ready version that a reference means. Raises NotFound (`model_not_found`), also for what is another's."""
    try:
        wanted = ModelReference.parse(reference)
    except InvalidRequest as error:
        raise unknown(reference, error.message) from None
    if wanted.checkpoint is not None:
        found = repository.checkpoint(session, wanted.checkpoint)
        if found is None or not visible(found.owner, principal):
            raise unknown(reference, "no such checkpoint")
        return found
    row = repository.model(session, wanted.name)
    if row is None or not visible(row.owner, principal):
        raise unknown(reference, "no model has this name")
    version = _pick(session, wanted)
    if version is None or version.status != repository.READY:
        raise unknown(reference, _why(wanted, version))
    return repository.record(version, repository.aliases(session, [version.model]))


def found_model(session: Session, name: str, principal: str, *, lock: bool = False, param: str = "model") -> ModelRow:
    """Raises NotFound (`model_not_found`) with this `param`, also for what is another's."""
    row = repository.model(session, name, lock=lock) if NAME.fullmatch(name) else None
    if row is None or not visible(row.owner, principal):
        raise unknown(name, "no model has this name", param)
    return row


def found_version(
    session: Session, name: str, number: int, *, lock: bool = False, param: str = "version"
) -> VersionRow:
    """One of a model that was found, whatever its status. Raises NotFound (`version_not_found`)."""
    row = repository.version(session, name, number, lock=lock) if 0 < number < NUMBER_LIMIT else None
    if row is None:
        raise NotFound(f"model {name!r} has no version {number}", code="version_not_found", param=param)
    return row


def _pick(session: Session, wanted: ModelReference) -> VersionRow | None:
    if wanted.version is not None:
        return repository.version(session, wanted.name, wanted.version)
    if wanted.digest is not None:
        return repository.newest(session, wanted.name, wanted.digest)
    pointer = session.get(AliasRow, (wanted.name, wanted.alias or CHAMPION))
    if pointer is not None:
        return repository.version(session, wanted.name, pointer.version)
    return repository.newest(session, wanted.name) if wanted.alias is None else None


def _why(wanted: ModelReference, found: VersionRow | None) -> str:
    if found is not None:
        return f"version {found.version} is {found.status}"
    if wanted.alias is not None:
        return "the model has no such alias"
    return "the model has no ready version" if str(wanted) == wanted.name else "the model has no such version"


def unknown(reference: str, reason: str, param: str = "model") -> NotFound:
    text = reason if reason.startswith(show(reference)) else f"{show(reference)}: {reason}"
    return NotFound(f"model not found: {text}; GET /v1/models lists them", code="model_not_found", param=param)
