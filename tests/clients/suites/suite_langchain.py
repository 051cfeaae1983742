"""LangChain's package for OpenAI: chats, completions, embeddings and decisions."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from calls import CHATS, COMPLAINT, CRASH, PROMPT, QUESTION, URL, Calls, answers, classified, same_vectors
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from langchain_openai.decisions import Choice, OpenAIDecisions, Predicate, Score
from tiktoken import Encoding
from tiktoken.registry import ENCODINGS

calls = Calls("langchain-openai")
at: dict[str, Any] = {"base_url": f"{URL}/v1", "api_key": "none", "max_retries": 0}
for model in CHATS:
    chat = ChatOpenAI(model=model, temperature=0, **at)
    text = OpenAI(model=model, temperature=0, max_tokens=40, **at)
    calls.works(f"ChatOpenAI.invoke ({model})", lambda c=chat: c.invoke(QUESTION).content, answers)
    calls.works(
        f"ChatOpenAI.stream ({model})", lambda c=chat: "".join(chunk.content for chunk in c.stream(QUESTION)), answers
    )
    calls.works(f"OpenAI.invoke ({model})", lambda t=text: t.invoke(PROMPT), answers)
    calls.works(f"OpenAI.stream ({model})", lambda t=text: "".join(t.stream(PROMPT)), answers)
texts = OpenAIEmbeddings(model="departments", check_embedding_ctx_length=False, **at)
calls.works(
    "OpenAIEmbeddings, check_embedding_ctx_length=False",
    lambda: texts.embed_documents([COMPLAINT, CRASH]),
    lambda vectors: same_vectors(vectors, COMPLAINT, CRASH),
)
calls.works(
    "OpenAIEmbeddings.embed_query, aembed_documents",
    lambda: [texts.embed_query(CRASH), *asyncio.run(texts.aembed_documents([COMPLAINT]))],
    lambda vectors: same_vectors(vectors[:1], CRASH) and same_vectors(vectors[1:], COMPLAINT),
)
# By default, the package sends token ids. Their table is downloaded; here it has one id for each byte.
bytes_alone = {bytes([byte]): byte for byte in range(256)}
ENCODINGS["cl100k_base"] = Encoding("cl100k_base", pat_str=".+", mergeable_ranks=bytes_alone, special_tokens={})
ids = OpenAIEmbeddings(model="departments", **at)
calls.refused("OpenAIEmbeddings, by default", lambda: ids.embed_query(COMPLAINT), "the input contains token ids")
decisions = OpenAIDecisions(model="departments", **at)
questions: Any = {
    "department": Choice(instructions="?", choices={"billing": None, "delivery": None}),
    "billing": Predicate(instructions="?"),
    "scale": Score(instructions="?", levels=["account", "billing"]),
}
calls.works(
    "OpenAIDecisions.invoke",
    lambda: decisions.invoke({"input": COMPLAINT, "questions": questions}),
    lambda r: (
        r.choices["department"].choice == "billing"
        and r.predicates["billing"].probability > 0.5
        and r.scores["scale"].score > 0.5
    ),
)
unknown: Any = {"q": Choice(instructions="?", choices={"biling": None, "returns": None})}
calls.refused(
    "OpenAIDecisions.invoke, unknown label",
    lambda: decisions.invoke({"input": "x", "questions": unknown}),
    "did you mean 'billing'",
)
calls.works(
    "OpenAIDecisions.invoke, multilabel",
    lambda: (
        OpenAIDecisions(model="tickets", **at)
        .invoke({"input": CRASH, "questions": {name: Predicate(instructions="?") for name in ("bug", "billing")}})
        .predicates
    ),
    lambda p: all(math.isclose(p[k].probability, v, abs_tol=1e-6) for k, v in classified("tickets", CRASH).items()),
)
calls.report()
