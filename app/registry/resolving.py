"""Resolves model references to versions, and finds models and versions that a principal may see."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.orm import Session

from app.db.tables import AliasRow, ModelRow, VersionRow
from app.errors import InvalidRequest, NotFound, did_you_mean
from app.registry import alias_repository, repository
from app.registry.records import CHAMPION, NAME, NUMBER_LIMIT, ModelReference, Version, show, visible


def resolve(session: Session, text: str, principal: str) -> Version:
    """Return the ready version to which a reference currently resolves.

    Raises NotFound (`model_not_found`) if there is no such version or it belongs to another principal.
    """
    try:
        reference = ModelReference.parse(text)
    except InvalidRequest as error:
        raise model_not_found(text, error.message) from None
    if reference.checkpoint is not None:
        checkpoint = repository.load_checkpoint(session, reference.checkpoint)
        if checkpoint is None or not visible(checkpoint.owner, principal):
            raise model_not_found(text, "no such checkpoint")
        return checkpoint
    model = repository.find_model(session, reference.name)
    if model is None or not visible(model.owner, principal):
        raise _no_such_name(session, text, reference.name, principal, "model")
    alias = _find_alias(session, reference)
    version = _find(session, reference, alias)
    if version is None or version.status != repository.READY:
        raise model_not_found(text, _explain(reference, version))
    record = repository.load_version(session, version)
    return record if alias is None else replace(record, abstention=alias_repository.abstention_of(alias))


def get_model(session: Session, name: str, principal: str, *, lock: bool = False, param: str = "model") -> ModelRow:
    """Return the row of model `name`. If `lock` is true, the row is locked until the transaction ends.

    Raises NotFound (`model_not_found`, with the given `param`) if the model does not exist or belongs to another
    principal.
    """
    row = repository.find_model(session, name, lock=lock) if NAME.fullmatch(name) else None
    if row is None or not visible(row.owner, principal):
        raise _no_such_name(session, name, name, principal, param)
    return row


def get_version(session: Session, name: str, number: int, *, lock: bool = False, param: str = "version") -> VersionRow:
    """Return a visible model's version, regardless of its status. Raises NotFound (`version_not_found`)."""
    row = repository.find_version(session, name, number, lock=lock) if 0 < number < NUMBER_LIMIT else None
    if row is None:
        raise NotFound(f"model {name!r} has no version {number}", code="version_not_found", param=param)
    return row


def model_not_found(reference: str, reason: str, param: str = "model", hint: str = "") -> NotFound:
    """Return the error for a reference that does not resolve. The message ends with `hint`.

    The message begins with the reference, unless `reason` already contains it.
    """
    text = reason if reason.startswith(show(reference)) else f"{show(reference)}: {reason}"
    message = f"model not found: {text}; GET /v1/models lists the models{hint}"
    return NotFound(message, code="model_not_found", param=param)


def _no_such_name(session: Session, text: str, name: str, principal: str, param: str) -> NotFound:
    """Return the error for an unknown name. It suggests a similar name among the models that the principal may see."""
    hint = did_you_mean(name, repository.visible_names(session, principal))
    return model_not_found(text, "no model has this name", param, hint)


def _find_alias(session: Session, reference: ModelReference) -> AliasRow | None:
    """Find the alias that a reference denotes. A bare name denotes the champion."""
    if reference.version is not None or reference.digest is not None:
        return None
    return session.get(AliasRow, (reference.name, reference.alias or CHAMPION))


def _find(session: Session, reference: ModelReference, alias: AliasRow | None) -> VersionRow | None:
    """Find a version by number, digest or alias. A bare name resolves to the champion or, if there is none, to the
    newest ready version.
    """
    if reference.version is not None:
        return repository.find_version(session, reference.name, reference.version)
    if reference.digest is not None:
        return repository.find_newest(session, reference.name, reference.digest)
    if alias is not None:
        return repository.find_version(session, reference.name, alias.version)
    return repository.find_newest(session, reference.name) if reference.alias is None else None


def _explain(reference: ModelReference, version: VersionRow | None) -> str:
    """Explain why a reference to a visible model resolves to no ready version."""
    if version is not None:
        return f"version {version.version} is {version.status}"
    if reference.alias is not None:
        return "the model has no such alias"
    return "the model has no ready version" if str(reference) == reference.name else "the model has no such version"
