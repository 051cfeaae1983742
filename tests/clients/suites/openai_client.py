"""What the suites of the `openai` package share: a client, a table for training, and a function that waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import openai
from calls import URL

client: Any = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0)
SECONDS = 300.0  # the time limit for a job
TABLE = b"text,label\n" + b"".join(b"good %d,yes\nbad %d,no\n" % (n, n) for n in range(50))


def until(condition: Callable[[Any], bool], retrieve: Callable[[], Any]) -> Any:
    """Retrieve an object until it satisfies the condition. Raises TimeoutError after SECONDS."""
    end = time.monotonic() + SECONDS
    while not condition(actual := retrieve()):
        if time.monotonic() > end:
            raise TimeoutError(f"still {actual.status} after {SECONDS:g} s")
        time.sleep(0.2)
    return actual
