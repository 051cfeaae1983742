"""LiteLLM, with this service as an OpenAI-compatible provider."""

from __future__ import annotations

from typing import Any

import litellm
from calls import CHATS, COMPLAINT, MESSAGES, PROMPT, QUESTION, URL, Calls, answers

calls = Calls("litellm")
at: dict[str, Any] = {"api_base": f"{URL}/v1", "api_key": "none", "max_retries": 0}


def chat(model: str, **options: Any) -> Any:
    return litellm.completion(model=f"openai/{model}", messages=MESSAGES, temperature=0, **at, **options)


for model in CHATS:
    calls.works(f"completion ({model})", lambda m=model: chat(m).choices[0].message.content, answers)
    calls.works(
        f"completion, stream ({model})",
        lambda m=model: "".join(chunk.choices[0].delta.content or "" for chunk in chat(m, stream=True)),
        answers,
    )
    calls.works(
        f"responses ({model})",
        lambda m=model: litellm.responses(model=f"openai/{m}", input=QUESTION, temperature=0, **at).output_text,
        answers,
    )
    calls.works(
        f"text_completion ({model})",
        lambda m=model: (
            litellm.text_completion(
                model=f"text-completion-openai/{m}", prompt=PROMPT, temperature=0, max_tokens=40, **at
            )
            .choices[0]
            .text
        ),
        answers,
    )
calls.works(
    "embedding",
    lambda: litellm.embedding(model="openai/departments", input=[COMPLAINT, "b"], **at).data,
    lambda data: len(data) == 2 and len(data[0]["embedding"]) > 1,
)
calls.refused("completion, unknown model", lambda: chat("nobody"), "model not found: 'nobody'")
calls.report()
