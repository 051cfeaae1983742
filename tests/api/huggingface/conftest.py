"""Hugging Face's client for an API with the generator `echo` and the classifier `mood`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from huggingface_hub import InferenceClient

from tests.serving import Api, Shelf

Connect = Callable[[str], InferenceClient]


@pytest.fixture
def connect(api: Api, shelf: Shelf) -> Connect:
    """Return a client for a path of the API, such as `/models/echo`."""
    shelf.generator()
    shelf.classifier()
    return lambda path: InferenceClient(model=api.url + path, token="none", timeout=60)
