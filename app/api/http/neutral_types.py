"""Types of neutral fields, whose only accepted values have no effect."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

NoText = Annotated[str, Meta(max_length=0)]
Disabled = Annotated[bool, Meta(extra_json_schema={"enum": [False]})]
