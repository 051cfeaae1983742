"""Messages between the API and the engine, as typed msgpack. Imports no torch.

Every message of the API carries the principal on whose behalf it is sent.
"""

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


# --- API -> engine ----------------------------------------------------------------------------------------------


class Load(msgspec.Struct, tag=True, frozen=True):
    """Load the checkpoint `directory`, whose manifest must have `digest`; answered by Loaded or LoadFailed."""

    digest: str
    directory: str
    files: dict[str, str]  # path -> SHA-256: checked before anything is read
    name: str  # the reference that people know it by, for reports
    bytes: int = 0  # of its weights, which is about what they take when loaded
    aliased: bool = False  # goes later than others when room is needed


class Unload(msgspec.Struct, tag=True, frozen=True):
    """Forget a version as soon as no request for it is open."""

    digest: str


class Keep(msgspec.Struct, tag=True, frozen=True):
    """The versions that must not be unloaded to make room; replaces what was said before."""

    digests: list[str]


class FeatureSequence(msgspec.Struct, frozen=True, array_like=True):
    """One numeric sequence: little-endian float32, row-major (steps, features)."""

    steps: int
    features: int
    data: bytes


class Score(msgspec.Struct, tag="Classify", frozen=True):
    """Score some sequences (token ids, or numeric steps) with one version; answered by Scored or Failed."""

    id: str
    digest: str
    principal: str
    sequences: list[list[int]] = []
    features: list[FeatureSequence] = []
    deadline: float | None = None  # seconds since the epoch
    request_id: str = ""  # of the HTTP request, for the log


class Generate(msgspec.Struct, tag=True, frozen=True):
    """One continuation of one prompt; `choice` tells apart the continuations of one request, and their noise."""

    id: str
    digest: str
    principal: str
    prompt: list[int]
    params: SamplingParams
    choice: int = 0
    deadline: float | None = None
    request_id: str = ""


class Embed(msgspec.Struct, tag=True, frozen=True):
    """The mean over the body's last hidden vectors, of unit length; answered by Scored (scores = vectors)."""

    id: str
    digest: str
    principal: str
    sequences: list[list[int]] = []
    features: list[FeatureSequence] = []
    deadline: float | None = None
    request_id: str = ""


class Abort(msgspec.Struct, tag=True, frozen=True):
    """Forget a request; it is answered by Finished with reason `abort` if it was still open."""

    id: str


# --- engine -> API ----------------------------------------------------------------------------------------------


class Loaded(msgspec.Struct, tag=True, frozen=True):
    digest: str
    seconds: float


class LoadFailed(msgspec.Struct, tag=True, frozen=True):
    digest: str
    code: str
    message: str


class Timing(msgspec.Struct, frozen=True, array_like=True):
    """Milliseconds spent waiting for a place, and in the network; of those, until the first token."""

    queue_ms: float = 0.0
    inference_ms: float = 0.0
    prefill_ms: float = 0.0


class Scored(msgspec.Struct, tag="Classified", frozen=True):
    """Raw head outputs (logits, or the value of a regression), one list a sequence, in the order asked."""

    id: str
    scores: list[list[float]]
    timing: Timing


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """The log-probability of one position's token, its rank (1 is the likeliest) and the best alternatives there."""

    id: int
    logprob: float | None
    top_ids: list[int] = []
    top_logprobs: list[float] = []
    rank: int = 0


class Tokens(msgspec.Struct, tag=True, frozen=True, omit_defaults=True):
    """Some new tokens of a generation. `prompt_logprobs` and `timing` come once, with the first of them."""

    id: str
    ids: list[int]
    logprobs: list[TokenLogprob] = []
    prompt_logprobs: list[TokenLogprob] = []
    timing: Timing | None = None


class Finished(msgspec.Struct, tag=True, frozen=True):
    """The one final message of a generation: `stop` (end token or stop id), `length`, or `abort`.

    `stop_id` is the token that ended it, which is not among the tokens sent before; its `stop_logprob` comes where
    log-probabilities were asked for.
    """

    id: str
    reason: str
    timing: Timing
    stop_id: int | None = None
    cached_tokens: int = 0
    stop_logprob: float | None = None


class Failed(msgspec.Struct, tag=True, frozen=True):
    """The one final message of a request that could not be answered; `code` as in `app.errors`."""

    id: str
    code: str
    message: str


class VersionStatus(msgspec.Struct, frozen=True):
    """What the engine says of one loaded version. `cache_bytes` are allocated, `cache_used` hold running sequences."""

    digest: str
    name: str
    dtype: str
    bytes: int
    running: int
    waiting: int
    slots: int
    cache_bytes: int
    slots_used: int = 0
    cache_used: int = 0


class Heartbeat(msgspec.Struct, tag=True, frozen=True):
    """Sent every quarter of a second from a thread of its own; `instance` changes with each start of the process."""

    instance: str
    pid: int
    device: str
    threads: int
    busy_seconds: float  # how long the present step has lasted
    versions: list[VersionStatus] = []
    counters: dict[str, float] = {}


ToEngine = Load | Unload | Keep | Score | Generate | Embed | Abort
FromEngine = Loaded | LoadFailed | Scored | Tokens | Finished | Failed
