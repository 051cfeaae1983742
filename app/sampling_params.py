"""The options of one generation, as the API tells them to the engine. Knows names and defaults; chooses nothing."""

from __future__ import annotations

import msgspec


class SamplingParams(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the next token is chosen. Defaults leave the model's distribution as it is; `temperature` 0 is greedy.

    The order of work: penalties and bias on the raw logits, then temperature, top-k, top-p, min-p, typical-p.
    `logprobs` / `prompt_logprobs`: how many alternatives to report beside the chosen token (None: no report);
    reported log-probabilities are those of the raw logits. `stop_token_ids` end the sequence; stop strings are the
    caller's business, who sees text.
    """

    max_tokens: int = 16
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    seed: int = 0
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None
