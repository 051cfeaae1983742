"""Clients of the control plane for tests: no engine is needed where nothing is served."""

from __future__ import annotations

import openai

from tests.serving import Api


def sdk(api: Api, key: str = "none", **options: object) -> openai.OpenAI:
    """OpenAI's own client; it tries nothing twice, so that each refusal is seen."""
    return openai.OpenAI(base_url=f"{api.url}/v1", api_key=key, **{"max_retries": 0, **options})  # type: ignore[arg-type]
