"""Triton's own clients for an API with the generator `echo` and the classifiers `mood` and `waves`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tritonclient.http import InferenceServerClient

from tests.serving import Api, Shelf


@pytest.fixture
def client(api: Api, shelf: Shelf) -> Iterator[InferenceServerClient]:
    shelf.generator()
    shelf.classifier()
    shelf.classifier("waves", input="features", features=2, vocab_size=None)
    with InferenceServerClient(api.url.removeprefix("http://")) as triton:
        yield triton
