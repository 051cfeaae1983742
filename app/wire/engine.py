"""Messages between the API and the engine, as typed msgpack. Imports no torch.

Score, Generate and Embed contain the name of the principal that sent the request.
"""

from __future__ import annotations

import msgspec

from app.wire.modes import ModeChoice

Data = bytes  # an alias for use in `Load`, where `bytes` is the name of a field
MAX_TOKENS = 16  # the default of OpenAI's completions, on which its clients rely
TERMINAL_MAX_TOKENS = 128  # the default of `ostinato generate`, because 16 tokens are too few to judge a model by

_decode_row = msgspec.msgpack.Decoder(list[float]).decode


class SamplingParams(msgspec.Struct, frozen=True, omit_defaults=True):
    """Sampling parameters for generation. The defaults leave the model's distribution unchanged. With a `temperature`
    of 0, decoding is greedy.

    Penalties and bias are applied to the raw logits first, followed by temperature, top-k, top-p, min-p and typical-p,
    in this order. `logprobs` and `prompt_logprobs` are the numbers of alternatives to report in addition to each token;
    None disables the report. Reported log-probabilities are computed from the raw logits. Any token in `stop_token_ids`
    ends the sequence. Stop strings are handled in the API process, because the engine does not handle text.
    """

    max_tokens: int = MAX_TOKENS
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
    """Load the checkpoint in `directory`. The files must match `digest`. The reply is Loaded or LoadFailed."""

    digest: str
    directory: str
    files: dict[str, str]  # path -> SHA-256, which is verified before the file is used
    name: str  # the version's reference, for logs and metrics
    bytes: int = 0  # the size of the weights file, which approximates the memory that the weights need
    aliased: bool = False  # whether an alias points to the version; versions with an alias are unloaded last
    probes: Data | None = b""  # the encoded probes of the version, if there are any; None if they could not be read


class Unload(msgspec.Struct, tag=True, frozen=True):
    """Unload a version as soon as it has no open requests."""

    digest: str


class Keep(msgspec.Struct, tag=True, frozen=True):
    """Lists the versions that must not be unloaded to make room for others.

    Replaces the list of the previous Keep message.
    """

    digests: list[str]


class FeatureSequence(msgspec.Struct, frozen=True, array_like=True):
    """One numeric sequence: little-endian numbers of shape (steps, features), row-major.

    `dtype` is the type of the numbers, f4 or f8. Programs of this release send f8: in float32, numbers with a large
    offset would lose precision before the engine can subtract the mean.
    """

    steps: int
    features: int
    data: bytes
    dtype: str = "f4"


class Score(msgspec.Struct, tag="Classify", frozen=True):
    """Score sequences of token ids or numeric steps with one version. The reply is Scored or Failed.

    With `background`, the request is computed only while no other request for the version is waiting.
    """

    id: str
    digest: str
    principal: str
    sequences: list[list[int]] = []
    features: list[FeatureSequence] = []
    deadline: float | None = None  # a time of the monotonic clock, which all programs on a machine share
    request_id: str = ""  # the id of the HTTP request, for the log
    background: bool = False


class Generate(msgspec.Struct, tag=True, frozen=True):
    """Generate one continuation of one prompt. The reply is any number of Tokens messages, then Finished or Failed.

    `choice` is the index of this continuation among all continuations of the prompt. Each continuation uses different
    random numbers. Prompt states are reused only between requests with the same principal and `cache_salt`.
    """

    id: str
    digest: str
    principal: str
    prompt: list[int]
    params: SamplingParams
    choice: int = 0
    deadline: float | None = None
    request_id: str = ""
    cache_salt: str = ""
    background: bool = False


class Embed(msgspec.Struct, tag=True, frozen=True):
    """Embed each sequence: its pooled hidden vectors (for a language model, their mean), scaled to unit length.

    The reply is Scored, with the vectors as `scores`, or Failed.
    """

    id: str
    digest: str
    principal: str
    sequences: list[list[int]] = []
    features: list[FeatureSequence] = []
    deadline: float | None = None
    request_id: str = ""
    background: bool = False


class Abort(msgspec.Struct, tag=True, frozen=True):
    """Abort a request. If the request is still open, it is answered with Finished and the reason `abort`."""

    id: str


# --- engine -> API ----------------------------------------------------------------------------------------------


class Loaded(msgspec.Struct, tag=True, frozen=True):
    """A version has been loaded. `seconds` is the loading time."""

    digest: str
    seconds: float


class LoadFailed(msgspec.Struct, tag=True, frozen=True):
    """A version could not be loaded. `code` is an error code of `app.errors`."""

    digest: str
    code: str
    message: str


class Timing(msgspec.Struct, frozen=True, array_like=True):
    """Durations in milliseconds: waiting in the queue, processing, and processing up to the first token."""

    queue_ms: float = 0.0
    inference_ms: float = 0.0
    prefill_ms: float = 0.0


class Scored(msgspec.Struct, tag="Classified", frozen=True):
    """One list per sequence, in the request's order: logits, the value of a regression, or an embedding."""

    id: str
    scores: list[list[float]]
    timing: Timing


class PackedScored(msgspec.Struct, tag="Classified", frozen=True):
    """A large `Scored` message that the API process has partly decoded: its lists are still encoded.

    msgspec does not release the GIL during a call. A worker thread therefore decodes the lists one by one, so that
    other threads can run in between.
    """

    id: str
    scores: list[msgspec.Raw]
    timing: Timing

    def rows(self) -> list[list[float]]:
        """Decode the lists. This is slow, so call it in a worker thread."""
        return [_decode_row(row) for row in self.scores]


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """A token's log-probability and rank (1 is the most probable), and the most probable alternatives."""

    id: int
    logprob: float | None
    top_ids: list[int] = []
    top_logprobs: list[float] = []
    rank: int = 0


class Tokens(msgspec.Struct, tag=True, frozen=True, omit_defaults=True):
    """Newly generated tokens. `prompt_logprobs`, `timing` and `cached_tokens` are sent once, with the first tokens.

    `cached_tokens` is the number of prompt tokens that were not read, because their state was in the prefix cache.
    """

    id: str
    ids: list[int]
    logprobs: list[TokenLogprob] = []
    prompt_logprobs: list[TokenLogprob] = []
    timing: Timing | None = None
    cached_tokens: int = 0


class Finished(msgspec.Struct, tag=True, frozen=True):
    """The final message of a generation, or of an aborted request. `reason` is `stop` (end or stop token), `length` or
    `abort`.

    `stop_id` is the token that ended the generation; Tokens messages do not contain this token. `stop_logprob`, the
    log-probability of `stop_id`, is set if the request asks for log-probabilities.
    """

    id: str
    reason: str
    timing: Timing
    stop_id: int | None = None
    cached_tokens: int = 0
    stop_logprob: float | None = None


class Failed(msgspec.Struct, tag=True, frozen=True):
    """The final message for a request that could not be answered. `code` is an error code of `app.errors`."""

    id: str
    code: str
    message: str


class VersionWork(msgspec.Struct, frozen=True, array_like=True):
    """The amount of work that an engine has done for one version since loading it.

    `requests` counts completed requests, `calls` counts scoring batches and decode steps, and `rows` counts the
    sequences in them. `padded_tokens` is the number of tokens in scoring batches and prompts, including padding.
    """

    requests: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    calls: int = 0
    rows: int = 0
    padded_tokens: int = 0


class VersionStatus(msgspec.Struct, frozen=True):
    """The state of one loaded version. `cache_bytes` is the memory allocated for the states of sequences, and
    `cache_used` is the part that running sequences use. `prefix_bytes` is the size of the version's states in the
    prefix cache. `kernel` is the name of the implementation of its matrix products, and `choice` explains the choice of
    data type and kernel.
    """

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
    prefix_bytes: int = 0
    kernel: str = ""
    work: VersionWork = VersionWork()
    choice: ModeChoice = ModeChoice("", "")


class Heartbeat(msgspec.Struct, tag=True, frozen=True):
    """The engine's state, which a separate thread sends every quarter of a second.

    `instance` identifies this run of the process: each start has a different value.
    """

    instance: str
    pid: int
    device: str
    threads: int
    busy_seconds: float  # the duration of the current step so far
    versions: list[VersionStatus] = []
    counters: dict[str, float] = {}


ToEngine = Load | Unload | Keep | Score | Generate | Embed | Abort
FromEngine = Loaded | LoadFailed | Scored | Tokens | Finished | Failed
LargeFromEngine = Loaded | LoadFailed | PackedScored | Tokens | Finished | Failed  # for decoding large messages
