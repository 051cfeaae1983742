"""What the registry speaks of: models, versions, aliases and the references that people write.

Plain data and rules over it. Knows no SQL and no bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self

from msgspec import UNSET, UnsetType

from app.checkpoint.directory import Manifest
from app.db.ownership import LOCAL, visible
from app.errors import InvalidRequest

__all__ = [
    "LOCAL",
    "UNSET",
    "Alias",
    "AliasMove",
    "Model",
    "ModelReference",
    "UnsetType",
    "Version",
    "check_name",
    "visible",
]

CHAMPION = "champion"
CHECKPOINT = "ftckpt-"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
PART = re.compile(r"[a-z0-9._-]{0,64}")
NUMBER_LIMIT = 10**9
NUMBER = re.compile(r"[1-9][0-9]{0,8}")
DIGEST = re.compile(r"[0-9a-f]{64}")
CHECKPOINT_ID = re.compile(r"ftckpt-[A-Za-z0-9_-]{1,33}")
FORMS = "a model reference is name, name:3, name@alias, name@sha256:… or ftckpt-…"


def check_name(name: str, param: str = "name") -> str:
    """`name`, if a model or an alias can have it; else raise InvalidRequest."""
    if not NAME.fullmatch(name) or name.startswith(CHECKPOINT):
        raise InvalidRequest(
            f"{param} {show(name)} is no name: 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit, "
            f"and not with {CHECKPOINT}",
            code="invalid_name",
            param=param,
        )
    return name


def show(text: str) -> str:
    """What a caller wrote, safe to print: quoted, escaped and short."""
    return ascii(text if len(text) <= 100 else text[:100] + "…")


@dataclass(frozen=True, slots=True)
class ModelReference:
    """One of `version`, `alias`, `digest`, `checkpoint`, or none of them: the champion, else the newest."""

    name: str
    version: int | None = None
    alias: str | None = None
    digest: str | None = None
    checkpoint: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference. Raises InvalidRequest, which says what a reference looks like."""
        if CHECKPOINT_ID.fullmatch(text):
            return cls(text, checkpoint=text)
        name, mark, rest = _split(text)
        if NAME.fullmatch(name) and not name.startswith(CHECKPOINT):
            if not mark:
                return cls(name)
            if mark == ":" and NUMBER.fullmatch(rest):
                return cls(name, version=int(rest))
            if mark == "@" and NAME.fullmatch(rest) and not rest.startswith(CHECKPOINT):
                return cls(name, alias=rest)
            if mark == "@" and rest.startswith("sha256:") and DIGEST.fullmatch(rest[7:]):
                return cls(name, digest=rest[7:])
        raise InvalidRequest(f"{show(text)}: {FORMS}", code="invalid_model_reference", param="model")

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name}:{self.version}"
        if self.digest is not None:
            return f"{self.name}@sha256:{self.digest}"
        return f"{self.name}@{self.alias}" if self.alias is not None else self.name


def _split(text: str) -> tuple[str, str, str]:
    """Name, mark and rest; the mark is the first `:` or `@`."""
    found = re.search("[:@]", text)
    return (text[: found.start()], found.group(), text[found.end() :]) if found else (text, "", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """An immutable checkpoint of a model; version 0 is a checkpoint of a job, whose model is its own id.

    `config` is config.json with the labels in it. `status`: pending, ready, failed or deleted.
    """

    model: str
    version: int
    owner: str
    status: str
    task: str
    architecture: str
    digest: str
    files: Manifest
    config: dict[str, Any]
    parameters: int
    metrics: dict[str, Any]
    aliases: tuple[str, ...]
    job_id: str | None
    created_at: float
    deleted_at: float | None = None

    @property
    def ref(self) -> str:
        return f"{self.model}:{self.version}" if self.version else self.model

    @property
    def labels(self) -> list[str]:
        return list(self.config.get("labels", ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A pointer. `required`: the service is not ready before the version that it names is."""

    model: str
    alias: str
    version: int
    required: bool
    updated_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """One line of an alias's history; `from_version` None: it was made, `to_version` None: it was removed."""

    id: int
    model: str
    alias: str
    from_version: int | None
    to_version: int | None
    principal: str
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`versions` counts those not deleted; `newest` is the newest ready one."""

    name: str
    owner: str
    created_at: float
    versions: int
    newest: Version | None
    aliases: dict[str, int]
