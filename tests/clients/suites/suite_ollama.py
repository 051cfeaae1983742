"""`ollama`: texts, chats, vectors and models, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import ollama
from calls import CHATS, COMPLAINT, CRASH, MESSAGES, PROMPT, URL, Calls, answers, classified, same_vectors

calls = Calls("ollama")
client: Any = ollama.Client(host=URL)
OPTIONS = {"temperature": 0, "num_predict": 40}
QUESTIONS = {
    "billing": {"type": "noul", "instructions": "Is it about billing?"},
    "department": {
        "type": "choice",
        "instructions": "Which department?",
        "criteria": {"billing": None, "delivery": None, "returns": None},
    },
}
PREDICATES = {name: {"type": "noul", "instructions": "?"} for name in ("bug", "billing")}


def generated(model: str, **more: Any) -> tuple[str, str]:
    """Return a text as a whole, and joined from its stream."""
    arguments: dict[str, Any] = {"model": model, "prompt": PROMPT, "raw": True, "options": {**OPTIONS, **more}}
    whole = client.generate(**arguments).response
    return whole, "".join(line.response for line in client.generate(**arguments, stream=True))


def chatted(model: str, **more: Any) -> tuple[str, str]:
    """Return an answer as a whole, and joined from its stream."""
    arguments: dict[str, Any] = {"model": model, "messages": MESSAGES, "options": {**OPTIONS, **more}}
    whole = client.chat(**arguments).message.content
    return whole, "".join(line.message.content for line in client.chat(**arguments, stream=True))


async def asynchronous(model: str) -> list[str]:
    other: Any = ollama.AsyncClient(host=URL)
    whole = await other.chat(model, MESSAGES, options=OPTIONS)
    lines = [line async for line in await other.chat(model, MESSAGES, options=OPTIONS, stream=True)]
    text = await other.generate(model, PROMPT, raw=True, options=OPTIONS)
    return [whole.message.content, "".join(line.message.content for line in lines), text.response]


for model in CHATS:
    calls.works(
        f"generate, with and without streaming ({model})",
        lambda m=model: generated(m),
        lambda texts: answers(texts[0]) and texts[0] == texts[1],
    )
    calls.works(
        f"generate, stop across tokens, with and without streaming ({model})",
        lambda m=model: generated(m, stop=["er T"]),
        lambda texts: [text.strip() for text in texts] == ["Grün", "Grün"],
    )
    calls.works(
        f"chat, with and without streaming ({model})",
        lambda m=model: chatted(m),
        lambda texts: answers(texts[0]) and texts[0] == texts[1],
    )
    calls.works(
        f"chat, stop across tokens, with and without streaming ({model})",
        lambda m=model: chatted(m, stop=["er T"]),
        lambda texts: [text.strip() for text in texts] == ["Grün", "Grün"],
    )
    calls.works(
        f"AsyncClient: chat, with and without streaming, generate ({model})",
        lambda m=model: asyncio.run(asynchronous(m)),
        lambda texts: len(texts) == 3 and all(map(answers, texts)),
    )
calls.works(
    "chat, done_reason and counts",
    lambda: client.chat(CHATS[0], MESSAGES, options=OPTIONS),
    lambda r: r.done and r.done_reason == "stop" and r.eval_count > 0 and r.prompt_eval_count > 0,
)
calls.works(
    "embed",
    lambda: client.embed("departments", [COMPLAINT, CRASH]).embeddings,
    lambda vectors: same_vectors(vectors, COMPLAINT, CRASH),
)
calls.works(
    "embeddings",
    lambda: client.embeddings("departments", COMPLAINT).embedding,
    lambda vector: same_vectors([vector], COMPLAINT),
)
calls.works(
    "AsyncClient: embed",
    lambda: asyncio.run(ollama.AsyncClient(host=URL).embed("departments", [CRASH])).embeddings,
    lambda vectors: same_vectors(vectors, CRASH),
)
calls.works(
    "list",
    lambda: {m.model for m in client.list().models},
    lambda names: {f"{name}:latest" for name in ("departments", *CHATS)} <= names,
)
calls.works(
    "show",
    lambda: client.show(CHATS[0]),
    lambda m: "completion" in m.capabilities and m.modelinfo["ostinato.reference"] == f"{CHATS[0]}:1",
)
calls.works("ps", lambda: [m.model for m in client.ps().models], lambda names: f"{CHATS[0]}:1" in names)
calls.works(
    "systemone",
    lambda: client.systemone("departments:latest", COMPLAINT, QUESTIONS, keep_alive="5m").answers,
    lambda answers: answers["department"].choice == "billing" and answers["billing"].noul > 0.5,
)
calls.works(
    "systemone, multilabel",
    lambda: client.systemone("tickets", CRASH, PREDICATES).answers,
    lambda answered: all(
        math.isclose(answered[k].noul, v, abs_tol=1e-6) for k, v in classified("tickets", CRASH).items()
    ),
)
calls.works(
    "AsyncClient: systemone",
    lambda: asyncio.run(ollama.AsyncClient(host=URL).systemone("tickets", CRASH, PREDICATES)).answers,
    lambda answered: answered["bug"].noul > 0.5 > answered["billing"].noul,
)
calls.refused(
    "systemone, abstaining",
    lambda: ollama.Client(host=URL, headers={"x-abstain-below": "0.999999999"}).systemone(
        "departments", COMPLAINT, QUESTIONS
    ),
    "the version abstained",
)
calls.refused("generate, unknown model", lambda: client.generate("nobody", "a"), "model not found: 'nobody'")
calls.refused("generate, classifier", lambda: client.generate("departments", "a"), "generation requires")
calls.refused("chat, tools", lambda: client.chat(CHATS[0], MESSAGES, tools=[lambda: 1]), "tools")
for name, call, message in (
    ("pull", lambda: client.pull("llama3"), "ostinato import"),
    ("push", lambda: client.push("llama3"), "ostinato export"),
    ("create", lambda: client.create("a", from_="b"), "ostinato import"),
    ("copy", lambda: client.copy("a", "b"), "alias"),
    ("delete", lambda: client.delete("a"), "DELETE /v1/registry"),
):
    calls.refused(name, call, message)
calls.report()
