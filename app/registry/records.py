"""Immutable records of models, versions and aliases, and the syntax of names and model references."""

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
    "Abstention",
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
PART = re.compile(r"[a-z0-9._-]{0,64}")  # a substring of a name, as in a query
NUMBER_LIMIT = 10**9  # all version numbers are less than this
NUMBER = re.compile(r"[1-9][0-9]{0,8}")
DIGEST = re.compile(r"[0-9a-f]{64}")
CHECKPOINT_ID = re.compile(r"ftckpt-[A-Za-z0-9_-]{1,33}")
FORMS = "a model reference has the form name, name:3, name@alias, name@sha256:… or ftckpt-…"


def check_name(name: str, param: str = "name") -> str:
    """Return `name` if it is valid for a model or an alias.

    Raises InvalidRequest (`invalid_name`) if the name is not valid.
    """
    if not NAME.fullmatch(name) or name.startswith(CHECKPOINT):
        raise InvalidRequest(
            f"{param} {show(name)} is not a valid name: use 1 to 64 characters of a-z 0-9 . _ -, beginning with a "
            f"letter or a digit, but not with {CHECKPOINT}",
            code="invalid_name",
            param=param,
        )
    return name


def show(text: str) -> str:
    """Quote, escape and shorten a caller's string to about 100 characters, so that it can be printed safely."""
    return ascii(text if len(text) <= 100 else text[:100] + "…")


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A parsed model reference. At most one of `version`, `alias`, `digest` and `checkpoint` is set.

    If none is set, the reference resolves to the model's champion or, if there is none, to its newest ready version.
    """

    name: str
    version: int | None = None
    alias: str | None = None
    digest: str | None = None
    checkpoint: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a reference. Raises InvalidRequest (`invalid_model_reference`) with the valid forms in the message."""
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
    """Split a reference at its first `:` or `@` into the name, the separator, and the rest."""
    mark = re.search("[:@]", text)
    return (text[: mark.start()], mark.group(), text[mark.end() :]) if mark else (text, "", "")


@dataclass(frozen=True, slots=True)
class Abstention:
    """The limits for typed decisions. A version leaves a decision unanswered if the score of its answer is below
    `abstain_below`, or if the error rate could exceed `max_risk`. A limit that is None does not apply.
    """

    abstain_below: float | None = None
    max_risk: float | None = None


NEVER_ABSTAINS = Abstention()


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a model: an immutable checkpoint. Only a version's status and aliases change.

    This class also represents jobs' checkpoints, with `version` 0 and the checkpoint's id as `model`. `config` is the
    content of config.json with the labels added; `parameters` is the number of weights; `status` is pending, ready,
    failed or deleted. `abstention` is that of the alias through which a reference was resolved to this version.
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
    abstention: Abstention = NEVER_ABSTAINS

    @property
    def ref(self) -> str:
        """The reference that always resolves to this version, until the version is deleted."""
        return f"{self.model}:{self.version}" if self.version else self.model

    @property
    def input(self) -> str:
        """The kind of input that the network reads: tokens or features."""
        return str(self.config.get("input", "tokens"))

    @property
    def labels(self) -> list[str]:
        """The class labels; empty for a task without classes."""
        return list(self.config.get("labels", ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name that points to a version. If `required` is true, the service is not ready until that version is loaded."""

    model: str
    alias: str
    version: int
    required: bool
    updated_at: float
    abstention: Abstention = NEVER_ABSTAINS


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """A change of an alias. `from_version` is None if the alias was created; `to_version` is None if it was removed.

    If only the abstention has changed, both versions are the same.
    """

    id: int
    model: str
    alias: str
    from_version: int | None
    to_version: int | None
    principal: str
    created_at: float
    abstention: Abstention = NEVER_ABSTAINS


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model. `versions` is the number of versions that are not deleted; `newest` is the newest ready version."""

    name: str
    owner: str
    created_at: float
    versions: int
    newest: Version | None
    aliases: dict[str, int]  # alias -> version
