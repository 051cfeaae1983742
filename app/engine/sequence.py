"""One generation on its way: prompt, output, slot, options. Works on token ids; knows no text and no tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from app.wire.engine import Generate, SamplingParams, TokenLogprob

INVALID, TOO_LONG = "invalid_request", "context_length_exceeded"


@dataclass(slots=True, eq=False)
class Sequence:
    """`limit` is how many tokens may come (max_tokens, cut to the context); `order` counts arrivals. `seen` (in prompt
    and output) and `counts` (in the output) are kept as tokens come, for requests whose penalties ask for them.

    `computed` says how many prompt ids the state has seen; `slot` is set by the scheduler while running.
    """

    peer: bytes
    id: str
    prompt: list[int]
    params: SamplingParams
    choice: int
    deadline: float | None
    limit: int
    stop_ids: frozenset[int]
    order: int = 0
    arrived: float = 0.0
    admitted: float = 0.0
    began: float = 0.0  # when the first token came
    slot: int = -1
    computed: int = 0
    output: list[int] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    ended: bool = False
    request_id: str = ""  # for the log
    random: bool = field(init=False)
    edited: bool = field(init=False)
    filtered: bool = field(init=False)
    plain: bool = field(init=False)
    seen: set[int] = field(init=False)
    counts: dict[int, int] = field(init=False, default_factory=dict)
    _repeats: bool = field(init=False)
    _counted: bool = field(init=False)

    def __post_init__(self) -> None:
        p = self.params
        self.random = p.temperature > 0
        self.edited = bool(p.logit_bias or p.min_tokens or p.presence_penalty or p.frequency_penalty) or (
            p.repetition_penalty != 1
        )
        self._repeats, self._counted = p.repetition_penalty != 1, bool(p.frequency_penalty or p.presence_penalty)
        self.seen = set(self.prompt) if self._repeats else set()
        self.filtered = self.random and (p.top_k > 0 or p.top_p < 1 or p.min_p > 0 or p.typical_p < 1)
        self.plain = not (self.random or self.edited or p.logprobs is not None)

    @property
    def remaining(self) -> int:
        """Prompt ids that the state has not seen."""
        return len(self.prompt) - self.computed

    def append(self, token: int) -> str | None:
        """Take the next token: None to go on, else why the sequence ends. A token that stops is not kept."""
        if token in self.stop_ids:
            return "stop"
        self.output.append(token)
        if self._repeats:
            self.seen.add(token)
        if self._counted:
            self.counts[token] = self.counts.get(token, 0) + 1
        return "length" if len(self.output) >= self.limit else None


def admit(message: Generate, peer: bytes, context_length: int, eos_id: int | None) -> Sequence:
    """The sequence that a (checked) message asks for."""
    params = message.params
    ends = set(params.stop_token_ids)
    if eos_id is not None and not params.ignore_eos:
        ends.add(eos_id)
    limit = min(params.max_tokens, context_length - len(message.prompt))
    return Sequence(
        peer, message.id, message.prompt, params, message.choice, message.deadline, limit, frozenset(ends),
        request_id=message.request_id,
    )  # fmt: skip


def complaint(message: Generate, vocab_size: int, context_length: int) -> tuple[str, str] | None:
    """What is impossible about a request, as a code and in words; None where it can run."""
    prompt = message.prompt
    if not prompt:
        return INVALID, "the prompt has no tokens; one or more are needed"
    most = context_length if message.params.max_tokens == 0 else context_length - 1
    if len(prompt) > most:
        return TOO_LONG, f"the prompt has {len(prompt)} tokens; this version takes {most} at most"
    if min(prompt) < 0 or max(prompt) >= vocab_size:
        return INVALID, f"the prompt holds a token id outside 0 to {vocab_size - 1}"
    wrong = _params_complaint(message.params, vocab_size)
    return (INVALID, wrong) if wrong else None


def _params_complaint(params: SamplingParams, vocab_size: int) -> str | None:
    numbers: tuple[float, ...] = (
        params.temperature,
        params.top_p,
        params.min_p,
        params.typical_p,
        params.presence_penalty,
    )
    numbers += (params.frequency_penalty, params.repetition_penalty, *params.logit_bias.values())
    if not all(map(math.isfinite, numbers)):
        return "a sampling option is not a finite number"
    if params.temperature < 0 or params.repetition_penalty <= 0 or params.max_tokens < 0:
        return "temperature and max_tokens must be 0 or more, repetition_penalty above 0"
    if any(not 0 <= token < vocab_size for token in params.logit_bias):
        return f"logit_bias names a token id outside 0 to {vocab_size - 1}"
    return None
