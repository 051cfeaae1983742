"""`/api/chat`, with Ollama's own client."""

from __future__ import annotations

import ollama
import pytest

from app.tokenization.chat import TEMPLATE
from tests.serving import Shelf

MESSAGES = [{"role": "system", "content": "Sei kürzer."}, {"role": "user", "content": "Grüße 世界?"}]


def test_a_stream_joins_to_the_whole_answer(client: ollama.Client, shelf: Shelf) -> None:
    shelf.generator("talk", chat_template=TEMPLATE, context_length=128)
    for options in ({"num_predict": 40}, {"num_predict": 40, "stop": ["r.\nuser"]}):
        whole = client.chat("talk", MESSAGES, options=options)
        lines = list(client.chat("talk", MESSAGES, options=options, stream=True))
        assert whole.message.role == "assistant" and all(line.message.role == "assistant" for line in lines)
        text = "".join(line.message.content or "" for line in lines)
        assert whole.message.content == text and text.startswith("system: Sei kürze")
        assert whole.done_reason == lines[-1].done_reason == ("stop" if "stop" in options else "length")
        assert whole.eval_count and whole.eval_count == lines[-1].eval_count


def test_without_messages_the_version_is_loaded(client: ollama.Client) -> None:
    assert client.chat("echo").done_reason == "load"


def test_what_is_not_supported_is_named(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="no chat template"):
        client.chat("echo", MESSAGES)
    with pytest.raises(ollama.ResponseError, match=r"messages\[0\].role"):
        client.chat("echo", [{"role": "tool", "content": "a"}])
    with pytest.raises(ollama.ResponseError, match="tools"):
        client.chat("echo", MESSAGES, tools=[{"type": "function", "function": {"name": "f"}}])
