"""The client for the tests of completions."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.api.clients import sdk
from tests.serving import Api, Shelf


@pytest.fixture
def client(api: Api, shelf: Shelf) -> Iterator[openai.OpenAI]:
    """OpenAI's client for an API with the generator `echo` and the classifier `mood`."""
    shelf.generator()
    shelf.classifier()
    with sdk(api, timeout=10) as openai_client:
        yield openai_client
