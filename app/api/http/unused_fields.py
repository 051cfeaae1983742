"""Types of fields that a client may send only with a value that changes nothing."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

NoText = Annotated[str, Meta(max_length=0)]
Disabled = Annotated[bool, Meta(extra_json_schema={"enum": [False]})]
