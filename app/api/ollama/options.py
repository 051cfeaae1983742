"""The `options` of Ollama's requests, and the corresponding engine parameters."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from app.api.http.sampling_fields import (
    DEFAULTS,
    Least,
    Penalty,
    Repetition,
    Seed,
    Share,
    StopText,
    StopTexts,
    Temperature,
    masked,
    value_or,
)
from app.inference.generation import Stops
from app.wire.engine import SamplingParams

Predicted = Annotated[int, Meta(ge=-2, le=2**16, extra_json_schema={"not": {"const": 0}})]
Zero = Annotated[float, Meta(ge=0, le=0)]
One = Annotated[float, Meta(ge=1, le=1)]


class OllamaOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Generation options. With a `temperature` of 0, the most likely token is always chosen.

    If `num_predict` is missing, -1 or -2, the text may fill the model's context. Unlike in Ollama, omitted options
    leave the model's distribution unchanged. `num_ctx` and options about memory and hardware have no effect.
    """

    temperature: Temperature | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    top_p: Share | None = None
    min_p: Least | None = None
    typical_p: Share | None = None
    seed: Seed | None = None
    num_predict: Predicted | None = None
    stop: StopText | StopTexts | None = None
    repeat_penalty: Repetition | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    # These options have no effect here, or only their neutral value is accepted.
    mirostat: Zero | None = None
    mirostat_eta: float | None = None
    mirostat_tau: float | None = None
    tfs_z: One | None = None
    repeat_last_n: int | None = None
    penalize_newline: bool | None = None
    num_ctx: int | None = None
    num_keep: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    num_thread: int | None = None
    numa: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    logits_all: bool | None = None
    vocab_only: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    embedding_only: bool | None = None
    draft_num_predict: int | None = None

    def __post_init__(self) -> None:
        if self.num_predict == 0:
            raise ValueError("num_predict is 0; it must be 1 or more, or -1 to fill the context")

    @property
    def limit(self) -> int | None:
        """The maximum number of tokens, or None if the text may fill the context."""
        return self.num_predict if self.num_predict is not None and self.num_predict > 0 else None

    @property
    def stops(self) -> Stops:
        return Stops((self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()))

    @property
    def masked_seed(self) -> int | None:
        """The seed, or None if the seed is missing or -1. With None, the service chooses a seed."""
        return None if self.seed == -1 else masked(self.seed)


NONE = OllamaOptions()


def sampling_params(options: OllamaOptions) -> SamplingParams:
    """Return the engine's sampling parameters for Ollama's options."""
    return SamplingParams(
        max_tokens=options.limit or 1,
        temperature=value_or(options.temperature, DEFAULTS.temperature),
        top_k=value_or(options.top_k, DEFAULTS.top_k),
        top_p=value_or(options.top_p, DEFAULTS.top_p),
        min_p=value_or(options.min_p, DEFAULTS.min_p),
        typical_p=value_or(options.typical_p, DEFAULTS.typical_p),
        repetition_penalty=value_or(options.repeat_penalty, DEFAULTS.repetition_penalty),
        presence_penalty=value_or(options.presence_penalty, DEFAULTS.presence_penalty),
        frequency_penalty=value_or(options.frequency_penalty, DEFAULTS.frequency_penalty),
    )
