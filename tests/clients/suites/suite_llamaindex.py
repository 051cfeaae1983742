"""LlamaIndex, with this service as an OpenAI-like model."""

from __future__ import annotations

import asyncio
from typing import Any

from calls import CHATS, COMPLAINT, CRASH, PROMPT, QUESTION, URL, Calls, answers, same_vectors
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike

calls = Calls("llama-index-llms-openai-like")
at: dict[str, Any] = {"api_base": f"{URL}/v1", "api_key": "none", "max_retries": 0}
for model in CHATS:
    chat = OpenAILike(model=model, is_chat_model=True, temperature=0, context_window=128, **at)
    text = OpenAILike(model=model, is_chat_model=False, temperature=0, max_tokens=40, context_window=128, **at)
    asked = [ChatMessage(role="user", content=QUESTION)]
    calls.works(f"OpenAILike.chat ({model})", lambda c=chat, a=asked: c.chat(a).message.content, answers)
    calls.works(
        f"OpenAILike.stream_chat ({model})",
        lambda c=chat, a=asked: "".join(part.delta or "" for part in c.stream_chat(a)),
        answers,
    )
    calls.works(f"OpenAILike.complete ({model})", lambda t=text: t.complete(PROMPT).text, answers)
    calls.works(
        f"OpenAILike.stream_complete ({model})",
        lambda t=text: "".join(part.delta or "" for part in t.stream_complete(PROMPT)),
        answers,
    )
vectors = OpenAILikeEmbedding(model_name="departments", **at)
calls.works(
    "OpenAILikeEmbedding.get_text_embedding",
    lambda: vectors.get_text_embedding(COMPLAINT),
    lambda vector: same_vectors([vector], COMPLAINT),
)
calls.works(
    "OpenAILikeEmbedding.get_text_embedding_batch",
    lambda: vectors.get_text_embedding_batch([COMPLAINT, CRASH]),
    lambda both: same_vectors(both, COMPLAINT, CRASH),
)
calls.works(
    "OpenAILikeEmbedding.aget_query_embedding",
    lambda: asyncio.run(vectors.aget_query_embedding(CRASH)),
    lambda vector: same_vectors([vector], CRASH),
)
calls.report()
