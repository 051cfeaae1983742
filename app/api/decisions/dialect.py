"""The dialects for typed decisions: OpenAI's `/v1/decisions`, and `/v1/systemone` with its documented errors."""

from __future__ import annotations

import re
from typing import Any

from app.api.decisions import decisions, systemone
from app.api.decisions.systemone_schemas import SystemOneError
from app.api.http.dialects import Dialect
from app.errors import OstinatoError

STEP = re.compile(r"[^.\[\]]+|\[\d+\]")  # one step of a path such as `questions.tone.criteria` or `state[0]`


def render_error(error: OstinatoError) -> tuple[int, dict[str, Any]]:
    """Render an error as a message and a list of faults with their paths. Invalid requests get status 422."""
    steps = STEP.findall(error.param or "")
    loc = ["body", *(int(step[1:-1]) if step.startswith("[") else step for step in steps)]
    fault = {"loc": loc, "msg": error.message, "type": error.code}
    return 422 if error.status == 400 else error.status, {"error": error.message, "detail": [fault]}


# Errors of /v1/decisions have OpenAI's format, which is the default.
DECISIONS = Dialect(inference=(decisions.router,))
SYSTEM_ONE = Dialect(
    inference=(systemone.router,),
    prefixes=("/v1/systemone",),
    render_error=render_error,
    error_reply=SystemOneError,
)
