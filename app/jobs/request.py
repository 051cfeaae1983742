"""A checked training request."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.wire.training_options import VALIDATION_SPLIT, Columns, TrainingOptions

ARCHITECTURES = ("rnn", "lstm", "gru", "transformer")


class Publish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the trained version goes. `expected_version` null: the alias must not exist yet; absent: wherever it is."""

    name: str | None = None
    alias: str | None = None
    expected_version: int | UnsetType | None = UNSET


class JobRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A checked request. `training` holds the settings of all places where clients may put them."""

    model: str
    training_file: Annotated[str, Meta(description="An id that `POST /v1/files` gave; `GET /v1/files` lists them")]
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
        return self.model in ARCHITECTURES

    @property
    def body_sha256(self) -> str:
        """Equal for equal requests, in whatever order their fields came."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()
