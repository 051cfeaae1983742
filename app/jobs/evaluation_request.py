"""A validated evaluation request, and the rules for validating it."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.errors import InvalidRequest
from app.jobs.limits import FILE_ID
from app.jobs.parsing import check_text
from app.wire.training_options import Columns
from app.wire.training_rules import is_encoding


class EvaluationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to evaluate one version, and optionally a second version for comparison, on a file.

    `encoding` is the text encoding of the file, which is otherwise detected. `skip_bad_rows` is the maximum fraction of
    rows that may be left out because they cannot be used. With `validation_split`, only the rows that a training run
    with this split would hold out for validation are used, unless the file assigns rows to splits.
    """

    model: Annotated[str, Meta(description="A model reference; `GET /v1/models` lists all models")]
    file: Annotated[str, Meta(description="A file id from `POST /v1/files`; `GET /v1/files` lists all ids")]
    against: str | None = None
    columns: Columns | None = None
    encoding: str | None = None
    skip_bad_rows: Annotated[float, Meta(ge=0, le=1)] | None = None
    validation_split: Annotated[float, Meta(gt=0, lt=1)] | UnsetType | None = UNSET  # unset: not in `body_sha256`

    @property
    def body_sha256(self) -> str:
        """A hash of the request that is independent of the order of its fields."""
        return hashlib.sha256(b"evaluation" + msgspec.json.encode(self, order="deterministic")).hexdigest()


def check(request: EvaluationRequest) -> None:
    """Check all rules that do not depend on the database. Raises InvalidRequest with `param` set."""
    check_text(msgspec.to_builtins(request))
    for param in ("model", "against"):
        value = getattr(request, param)
        if value is not None and not 1 <= len(value) <= 128:
            raise InvalidRequest(f"{param} must have 1 to 128 characters", param=param)
    if not FILE_ID.fullmatch(request.file):
        message = f"file must be the id of an uploaded file (file-…), not {request.file[:80]!r}"
        raise InvalidRequest(message, param="file")
    if request.encoding is not None and not is_encoding(request.encoding):
        message = f"encoding must be a text encoding such as utf-8, cp1252 or gb18030, not {request.encoding[:80]!r}"
        raise InvalidRequest(message, param="encoding")
