"""The registry routes' JSON objects: models, versions, aliases and comparisons."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from app.api.openapi.parameters import JOB_ID, MODEL
from app.errors import InvalidRequest
from app.registry import metrics
from app.registry.records import Abstention, Alias, AliasMove, Model, Version
from app.registry.search import Comparison

SUMMARY_LIMIT = 32 * 1024  # bytes: the maximum size of a version's labels, and of its configuration, in a list


class FileEntryObject(msgspec.Struct, frozen=True):
    """A file of a version; `size` is in bytes."""

    sha256: str
    size: int


class VersionObject(msgspec.Struct, frozen=True):
    """An immutable checkpoint. `id` is the version's model reference; `status` is pending, ready, failed or deleted. In
    lists, `labels` contains only the first 32 KiB of labels, and the largest parts of `config` are left out if it
    exceeds 32 KiB."""

    id: str
    object: str
    model: str
    version: int
    status: str
    task: str
    architecture: str
    digest: str
    files: dict[str, FileEntryObject]
    parameters: int
    metrics: dict[str, Any]
    aliases: list[str]
    owner: str
    created_at: int
    deleted_at: int | None
    job_id: str | None
    labels: list[str]
    config: dict[str, Any]


class ModelObject(msgspec.Struct, frozen=True):
    """A model. `versions` is how many versions it has, `latest` describes the newest ready version, and `aliases`
    maps each alias to a version number."""

    id: str
    object: str
    name: str
    owner: str
    created_at: int
    versions: int
    latest: VersionObject | None
    aliases: dict[str, int]


_Limit = Annotated[float, Meta(gt=0, lt=1)]


class AliasAbstention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits for typed decisions. A question is not answered if the score of the answer is below `abstain_below`, or if
    the error rate could exceed `max_risk`. `max_risk` requires a calibration."""

    abstain_below: _Limit | None = None
    max_risk: _Limit | None = None


class AliasObject(msgspec.Struct, frozen=True):
    """An alias of a version. If `required` is true, the service is ready only when this version is loaded. `abstention`
    applies to typed decisions that are requested with this alias."""

    id: str
    object: str
    model: str
    alias: str
    version: int
    required: bool
    abstention: AliasAbstention | None
    updated_at: int


class AliasMoveObject(msgspec.Struct, frozen=True):
    """One change of an alias. `from_version` is null if the change created the alias, and `to_version` is null if it
    deleted the alias. Both are the same if only `abstention` was changed."""

    id: int
    object: str
    model: str
    alias: str
    from_version: int | None
    to_version: int | None
    abstention: AliasAbstention | None
    principal: str
    created_at: int


class RegistryDeleted(msgspec.Struct, frozen=True):
    """The version or alias that was deleted."""

    id: str
    object: str
    deleted: bool


class AliasRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to point an alias at a version. `expected_version` is the version that the alias must point to now, or
    null if the alias must not exist yet; without `expected_version`, the alias is moved unconditionally. If `required`
    or `abstention` is missing, its current value is kept; null removes the abstention."""

    version: int
    expected_version: int | UnsetType | None = UNSET
    required: bool | None = None
    abstention: AliasAbstention | UnsetType | None = UNSET


class RegistryModelList(msgspec.Struct, frozen=True):
    """A page of models."""

    object: str
    data: list[ModelObject]
    has_more: bool


class VersionList(msgspec.Struct, frozen=True):
    """A page of versions."""

    object: str
    data: list[VersionObject]
    has_more: bool


class AliasMoveList(msgspec.Struct, frozen=True):
    """A page of an alias's history."""

    object: str
    data: list[AliasMoveObject]
    has_more: bool


class ComparisonObject(msgspec.Struct, frozen=True):
    """The metrics of several versions side by side. `figures` maps the path of a metric to its value in each version;
    `best` maps the path to the index of the best version. `different_rows` contains the splits, such as `test`, whose
    metrics were measured on different rows; `POST /v1/evaluations` measures two versions on the same rows."""

    object: str
    versions: list[VersionObject]
    figures: dict[str, list[float | None]]
    best: dict[str, int]
    different_rows: list[str]


EXAMPLE: dict[str, Any] = {
    "id": f"{MODEL}:1",
    "object": "model.version",
    "model": MODEL,
    "version": 1,
    "status": "ready",
    "task": "classification",
    "architecture": "lstm",
    "digest": "0f4c1a55c0b1e9b7ad53f1a2a0a5ba31cf6d5c0d8e6f4a2b9c7d1e3f5a7b9c1d",
    "files": {
        "config.json": {"sha256": "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9", "size": 611}
    },
    "parameters": 1254403,
    "metrics": {"test": {"accuracy": 0.912, "macro_f1": 0.903}},
    "aliases": ["champion"],
    "owner": "local",
    "created_at": 1745383065,
    "deleted_at": None,
    "job_id": JOB_ID,
    "labels": ["negative", "positive"],
    "config": {"architecture": "lstm", "layers": 2, "width": 256},
}
MODEL_EXAMPLE: dict[str, Any] = {
    "id": MODEL,
    "object": "registry.model",
    "name": MODEL,
    "owner": "local",
    "created_at": 1745383065,
    "versions": 1,
    "latest": EXAMPLE,
    "aliases": {"champion": 1},
}
ALIAS_EXAMPLE: dict[str, Any] = {
    "id": f"{MODEL}@champion",
    "object": "model.alias",
    "model": MODEL,
    "alias": "champion",
    "version": 1,
    "required": False,
    "abstention": None,
    "updated_at": 1745383065,
}


def parse_number(text: str, message: str, param: str) -> int:
    """Parse a version number of up to nine decimal digits. Raises InvalidRequest with `message` for other strings."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidRequest(message, param=param)
    return int(text)


def version_object(version: Version) -> VersionObject:
    return VersionObject(
        id=version.ref,
        object="model.version",
        model=version.model,
        version=version.version,
        status=version.status,
        task=version.task,
        architecture=version.architecture,
        digest=version.digest,
        files={path: FileEntryObject(entry.sha256, entry.size) for path, entry in version.files.items()},
        parameters=version.parameters,
        metrics=version.metrics,
        aliases=list(version.aliases),
        owner=version.owner,
        created_at=int(version.created_at),
        deleted_at=None if version.deleted_at is None else int(version.deleted_at),
        job_id=version.job_id,
        labels=version.labels,
        config=version.config,
    )


def summary_object(version: Version) -> VersionObject:
    """The object for a version in a list, with labels and configuration limited to SUMMARY_LIMIT bytes each."""
    config = metrics.reduce(version.config, SUMMARY_LIMIT)
    return replace(version_object(version), labels=_first(version.labels, SUMMARY_LIMIT), config=config)


def _first(labels: list[str], room: int) -> list[str]:
    """Return as many leading labels as fit into `room` bytes."""
    for number, label in enumerate(labels):
        room -= len(label.encode("utf-8", "replace"))
        if room < 0:
            return labels[:number]
    return labels


def model_object(model: Model) -> ModelObject:
    return ModelObject(
        id=model.name,
        object="registry.model",
        name=model.name,
        owner=model.owner,
        created_at=int(model.created_at),
        versions=model.versions,
        latest=None if model.newest is None else summary_object(model.newest),
        aliases=model.aliases,
    )


def alias_object(alias: Alias) -> AliasObject:
    return AliasObject(
        id=f"{alias.model}@{alias.alias}",
        object="model.alias",
        model=alias.model,
        alias=alias.alias,
        version=alias.version,
        required=alias.required,
        abstention=_abstention_object(alias.abstention),
        updated_at=int(alias.updated_at),
    )


def move_object(move: AliasMove) -> AliasMoveObject:
    return AliasMoveObject(
        id=move.id,
        object="model.alias_move",
        model=move.model,
        alias=move.alias,
        from_version=move.from_version,
        to_version=move.to_version,
        abstention=_abstention_object(move.abstention),
        principal=move.principal,
        created_at=int(move.created_at),
    )


def _abstention_object(abstention: Abstention) -> AliasAbstention | None:
    if abstention == Abstention():
        return None
    return AliasAbstention(abstention.abstain_below, abstention.max_risk)


def comparison_object(comparison: Comparison) -> ComparisonObject:
    versions = [summary_object(version) for version in comparison.versions]
    return ComparisonObject(
        "model.comparison", versions, comparison.figures, comparison.best, comparison.different_rows
    )
