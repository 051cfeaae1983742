"""A validated training request."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.wire.trainer import AUTO
from app.wire.training_options import VALIDATION_SPLIT, Columns, TrainingOptions
from models.choices import ARCHITECTURES


class Publish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model name and alias for the trained version.

    If `expected_version` is a number, the alias is moved only if it points to that version; if it is null, the alias
    must not exist yet. If `expected_version` is omitted, the alias is always moved.
    """

    name: str | None = None
    alias: str | None = None
    expected_version: int | UnsetType | None = UNSET


class JobRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A validated training request. `training` combines the options from all places where a client may send them."""

    model: str
    training_file: Annotated[str, Meta(description="A file id from `POST /v1/files`; `GET /v1/files` lists all ids")]
    validation_file: str | None = None
    suffix: str | None = None
    seed: int | None = None
    metadata: dict[str, str] | None = None
    method: dict[str, Any] | None = None
    hyperparameters: dict[str, Any] | None = None
    integrations: list[Any] | None = None
    task: str | None = None
    columns: Columns = Columns()
    validation_split: float = VALIDATION_SPLIT
    publish: Publish = Publish()
    training: TrainingOptions = TrainingOptions()
    priority: int = 0

    @property
    def from_scratch(self) -> bool:
        """Whether `model` is an architecture, or "auto", rather than a reference to a model to fine-tune."""
        return self.model in (*ARCHITECTURES, AUTO)

    @property
    def body_sha256(self) -> str:
        """A hash of the request that is independent of the order of its fields."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()
