"""The training options and the column mapping that users can set in a job request."""

from __future__ import annotations

import msgspec

VALIDATION_SPLIT = 0.1  # the default fraction of rows held out for validation


class Columns(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The name of the data column for each role. None selects the column with the default name, if there is one."""

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    value: str | None = None
    features: str | None = None
    series: str | None = None
    time: str | None = None
    split: str | None = None


class LoraOptions(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A low-rank adapter (LoRA). The options have PEFT's names. `alpha` / `r` multiplies the product of its matrices;
    the default of `alpha` is twice `r`. `dropout` applies to the input of the adapter. By default, `target_modules` are
    all matrices of the Transformer's blocks: `qkv`, `out`, `up` and `down`."""

    r: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    target_modules: list[str] | None = None


class TrainingOptions(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Training options. The trainer chooses a suitable value for each option that is None."""

    epochs: float | None = None
    max_steps: int | None = None
    max_seconds: float | None = None
    batch_size: int | None = None
    accumulation: int | None = None
    learning_rate: float | None = None
    learning_rate_multiplier: float | None = None
    schedule: str | None = None  # cosine | linear | constant | plateau
    warmup_ratio: float | None = None
    weight_decay: float | None = None
    max_grad_norm: float | None = None
    dropout: float | None = None
    label_smoothing: float | None = None
    class_weights: str | dict[str, float] | None = None  # "balanced" | {label: weight}
    optimizer: str | None = None  # adamw | muon | sgd
    layers: int | None = None
    width: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    context_length: int | None = None
    vocab_size: int | None = None
    tokenizer: str | None = None  # bpe | char | byte
    pooling: str | None = None
    bidirectional: bool | None = None
    ngrams: bool | None = None  # false: a text network without an n-gram branch
    head_only: bool | None = None  # for fine-tuning: train only the head, with all other parameters frozen
    lora: LoraOptions | None = None  # for a Transformer: train an adapter and, except for language models, the head
    patience: int | None = None
    eval_every: int | None = None
    precision: str | None = None  # float32 | bfloat16
    threads: int | None = None
    deterministic: bool | None = None
    encoding: str | None = None  # encoding of text files; None: detected
    skip_bad_rows: float | None = None  # the maximum fraction of rows that may be dropped because they cannot be used
    baseline: bool | None = None  # false: do not compare the network with a linear or n-gram model
