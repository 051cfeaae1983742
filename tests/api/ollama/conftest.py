"""Ollama's clients for an API with the generator `echo` and the classifier `mood`."""

from __future__ import annotations

from collections.abc import Iterator

import ollama
import pytest

from tests.serving import Api, Shelf


@pytest.fixture
def client(api: Api, shelf: Shelf) -> Iterator[ollama.Client]:
    shelf.generator()
    shelf.classifier()
    with ollama.Client(host=api.url, timeout=60) as ollama_client:
        yield ollama_client
