"""The messages between programs, as typed msgpack (API and engine) and JSON lines (trainer and worker).

Knows no transport and no torch. Every message of the API carries the principal on whose behalf it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from app.sampling_params import SamplingParams as SamplingParams

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


class Classify(msgspec.Struct, tag=True, frozen=True):
    """Score some sequences (token ids, or numeric steps) with one version; answered by Classified or Failed."""

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
    """The mean over the body's last hidden vectors, of unit length; answered by Classified (scores = vectors)."""

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


class Classified(msgspec.Struct, tag=True, frozen=True):
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


ToEngine = Load | Unload | Keep | Classify | Generate | Embed | Abort
FromEngine = Loaded | LoadFailed | Classified | Tokens | Finished | Failed


# --- training ---------------------------------------------------------------------------------------------------


VALIDATION_SPLIT = 0.1  # of the rows, where nothing else is said
Figures = Mapping[str, float | None]  # JSON has no NaN and no infinity: such a figure arrives as None


class Columns(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which column of the data holds what; None: the default name, where it exists."""

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    value: str | None = None
    features: str | None = None
    series: str | None = None
    time: str | None = None
    split: str | None = None


class TrainingOptions(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a person may set by hand; None: chosen by the trainer from the data, the machine and the architecture."""

    epochs: float | None = None
    max_steps: int | None = None
    max_seconds: float | None = None
    batch_size: int | None = None
    accumulation: int | None = None
    learning_rate: float | None = None
    learning_rate_multiplier: float | None = None
    schedule: str | None = None  # cosine | linear | constant
    warmup_ratio: float | None = None
    weight_decay: float | None = None
    max_grad_norm: float | None = None
    dropout: float | None = None
    label_smoothing: float | None = None
    class_weights: str | dict[str, float] | None = None  # "balanced" | {label: weight}
    optimizer: str | None = None  # adamw | sgd
    layers: int | None = None
    width: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    context_length: int | None = None
    vocab_size: int | None = None
    tokenizer: str | None = None  # bpe | char | byte
    pooling: str | None = None
    bidirectional: bool | None = None
    head_only: bool | None = None  # fine-tuning: train the head, keep the rest
    patience: int | None = None
    eval_every: int | None = None
    precision: str | None = None  # float32 | bfloat16
    threads: int | None = None
    deterministic: bool | None = None


class DataFile(msgspec.Struct, frozen=True):
    """An uploaded file as the trainer finds it: `path` is relative to the run directory."""

    path: str
    filename: str
    sha256: str
    format: str | None = None  # None: by the file's name and first bytes


class TrainSpec(msgspec.Struct, frozen=True):
    """All that a trainer is told: the contents of `run.json`. Two equal specs give equal weights. `model` is an
    architecture; or "base", and then the run directory's `base/` is the checkpoint to fine-tune."""

    model: str
    training_file: DataFile
    seed: int
    validation_file: DataFile | None = None
    task: str | None = None  # classification | generation | regression | multilabel; None: by the data
    columns: Columns = Columns()
    validation_split: float = VALIDATION_SPLIT
    training: TrainingOptions = TrainingOptions()


class Phase(msgspec.Struct, tag=True, frozen=True):
    """What the trainer does from here on: validating_files | training | evaluating | publishing."""

    phase: str


class Note(msgspec.Struct, tag=True, frozen=True):
    """A line for people; unique in a job by (`kind`, `step`)."""

    kind: str
    step: int
    level: str  # info | warn | error
    message: str
    data: dict[str, Any] = {}


class Metrics(msgspec.Struct, tag=True, frozen=True):
    """Figures at a step: train_loss, valid_loss, …, lr; `final`: of the kept checkpoint, over all held-out data."""

    step: int
    total_steps: int | None
    data: Figures
    progress: float  # 0 to 1
    seconds_left: float | None = None
    trained_tokens: int = 0
    final: bool = False


class CheckpointSaved(msgspec.Struct, tag=True, frozen=True):
    """A whole, loadable checkpoint directory at a step (`directory` relative to the run directory)."""

    step: int
    directory: str
    metrics: Figures


class Done(msgspec.Struct, tag=True, frozen=True):
    """The trainer's last word on success. Paths are relative to the run directory."""

    checkpoint: str
    task: str
    architecture: str
    parameters: int
    metrics: dict[str, Any]
    trained_tokens: int
    results: str  # the metrics CSV
    step: int = 0  # of the checkpoint


class Stopped(msgspec.Struct, tag=True, frozen=True):
    """Stopped on request, with a resume point on disk."""

    step: int


class TrainFailed(msgspec.Struct, tag=True, frozen=True):
    """The trainer's last word on failure; `checkpoint` is the best one so far, if there is one, of this `step`."""

    code: str  # invalid_training_file, invalid_hyperparameter, diverged, out_of_memory, …
    message: str
    param: str | None = None
    checkpoint: str | None = None
    metrics: Figures = {}
    step: int = 0


class Broke(msgspec.Struct, tag=True, frozen=True):
    """The trainer's last word after a fault that nobody foresaw, of an exception's `kind`; another attempt may do."""

    kind: str


TrainEvent = Phase | Note | Metrics | CheckpointSaved | Done | Stopped | TrainFailed | Broke
