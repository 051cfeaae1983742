"""A sequence that a decoder reads and continues: prompt, output, slot and options. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from app.engine.requests import INVALID, TOO_LONG, Member
from app.wire.engine import Generate, SamplingParams, TokenLogprob
from app.wording import quantity


@dataclass(slots=True, eq=False)
class Sequence:
    """A request for one continuation, and its progress.

    `limit` is the maximum number of output tokens: `max_tokens`, or fewer if the context is too small. `order` is the
    position in the order of admission, `computed` is the number of prompt tokens that have been read, and `cached` is
    the number of these tokens that were read for an earlier sequence. Reading pauses after `pause` tokens, so that the
    state can be saved. The scheduler sets `slot` while the sequence runs; it is -1 otherwise.

    These fields are derived from `params` once, because every step reads them: `random` (sampled, not greedy), `edited`
    (the logits are changed before sampling), `filtered` (some tokens are excluded), `plain` (greedy, with unchanged
    logits and no output log-probabilities). `seen` (the tokens of prompt and output) and `counts` (how often each token
    occurs in the output) are kept only if a penalty needs them.
    """

    peer: bytes
    id: str
    prompt: list[int]
    params: SamplingParams
    choice: int
    deadline: float | None
    limit: int
    stop_ids: frozenset[int]
    member: Member
    order: int = 0
    arrived: float = 0.0
    admitted: float = 0.0  # when the sequence was given a slot
    began: float = 0.0  # when the first token was sampled
    slot: int = -1
    computed: int = 0
    cached: int = 0
    pause: int = 0
    output: list[int] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    closed: bool = False
    request_id: str = ""  # the id of the HTTP request, for the log
    principal: str = ""
    cache_salt: str = ""
    background: bool = False  # whether the sequence gets a slot only while no ordinary sequence is waiting
    random: bool = field(init=False)
    edited: bool = field(init=False)
    filtered: bool = field(init=False)
    plain: bool = field(init=False)
    seen: set[int] = field(init=False)
    counts: dict[int, int] = field(init=False, default_factory=dict)
    _repeats: bool = field(init=False)
    _needs_counts: bool = field(init=False)

    def __post_init__(self) -> None:
        p = self.params
        self.random = p.temperature > 0
        self.edited = bool(p.logit_bias or p.min_tokens or p.presence_penalty or p.frequency_penalty) or (
            p.repetition_penalty != 1
        )
        self._repeats, self._needs_counts = p.repetition_penalty != 1, bool(p.frequency_penalty or p.presence_penalty)
        self.seen = set(self.prompt) if self._repeats else set()
        self.filtered = self.random and (p.top_k > 0 or p.top_p < 1 or p.min_p > 0 or p.typical_p < 1)
        self.plain = not (self.random or self.edited or p.logprobs is not None)

    @property
    def running(self) -> bool:
        """Whether the sequence has a slot."""
        return self.slot >= 0

    @property
    def remaining(self) -> int:
        """The number of prompt tokens that have not been read yet."""
        return len(self.prompt) - self.computed

    @property
    def due(self) -> int:
        """The number of prompt tokens that the next call may read."""
        return (self.pause if self.computed < self.pause else len(self.prompt)) - self.computed

    def append(self, token: int) -> str | None:
        """Add the next token to the output unless it is a stop token. Return the finish reason, or None to continue."""
        if token in self.stop_ids:
            return "stop"
        self.output.append(token)
        if self._repeats:
            self.seen.add(token)
        if self._needs_counts:
            self.counts[token] = self.counts.get(token, 0) + 1
        return "length" if len(self.output) >= self.limit else None


def admit(message: Generate, peer: bytes, context_length: int, member: Member) -> Sequence:
    """Create the sequence for a message without a `problem`."""
    params = message.params
    ends = set(params.stop_token_ids)
    if member.eos_id is not None and not params.ignore_eos:
        ends.add(member.eos_id)
    limit = min(params.max_tokens, context_length - len(message.prompt))
    return Sequence(
        peer, message.id, message.prompt, params, message.choice, message.deadline, limit, frozenset(ends), member,
        request_id=message.request_id, principal=message.principal, cache_salt=message.cache_salt,
        background=message.background,
    )  # fmt: skip


def problem(message: Generate, vocab_size: int, context_length: int) -> tuple[str, str] | None:
    """Return the code and message that explain why a request cannot run, or None if it can."""
    prompt = message.prompt
    if not prompt:
        return INVALID, "the prompt has no tokens; at least one is required"
    most = context_length if message.params.max_tokens == 0 else context_length - 1
    if len(prompt) > most:
        return TOO_LONG, f"the prompt has {quantity(len(prompt), 'token')}; this version takes at most {most}"
    if min(prompt) < 0 or max(prompt) >= vocab_size:
        return INVALID, f"the prompt contains a token id outside the range 0 to {vocab_size - 1}"
    text = _params_problem(message.params, vocab_size)
    return (INVALID, text) if text else None


def _params_problem(params: SamplingParams, vocab_size: int) -> str | None:
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
        return "temperature and max_tokens must be 0 or more, and repetition_penalty must be above 0"
    if any(not 0 <= token < vocab_size for token in params.logit_bias):
        return f"logit_bias contains a token id outside the range 0 to {vocab_size - 1}"
    return None
