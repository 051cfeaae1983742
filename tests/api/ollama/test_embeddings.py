"""`/api/embed` and `/api/embeddings`, with Ollama's own client."""

from __future__ import annotations

import ollama
import pytest


def test_texts_are_embedded(client: ollama.Client) -> None:
    one, two = client.embed("mood", "good"), client.embed("mood", ["good", "b" * 200])
    assert list(one.embeddings) == [[1.0, 0.0, 0.0, 0.0]] and len(two.embeddings) == 2
    assert one.prompt_eval_count == 4 and two.prompt_eval_count == 4 + 64  # the second text is cut
    assert list(client.embed("mood", "good", dimensions=2).embeddings[0]) == [1.0, 0.0]
    assert list(client.embeddings("mood", "good").embedding) == [1.0, 0.0, 0.0, 0.0]


def test_long_texts_are_refused_without_truncation(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="truncate: true") as refused:
        client.embed("mood", "b" * 200, truncate=False)
    assert refused.value.status_code == 400
