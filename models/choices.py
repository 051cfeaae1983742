"""The names, allowed values and limits of configuration fields. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

RECURRENT = ("rnn", "lstm", "gru")
NETWORKS = (*RECURRENT, "transformer")  # architectures with a body
ARCHITECTURES = ("linear", *NETWORKS)
POSITIONED = ("transformer",)  # architectures whose sequences have at most `context_length` positions
TRAINABLE = ("classification", "multilabel", "regression", "generation")
TASKS = (*TRAINABLE, "embedding")
ACTIVATIONS = ("none", "relu", "tanh", "gelu", "sigmoid", "silu", "elu", "leaky_relu")  # as in PyTorch
LOCAL_BLOCK = 128  # steps whose local attention is computed in one call
GATED = ("swiglu", "geglu")  # activations of an MLP with a gate, which has a third matrix
CHOICES: Mapping[str, tuple[str, ...]] = {
    "architecture": ARCHITECTURES,
    "task": TASKS,
    "input": ("tokens", "features"),
    "nonlinearity": ("tanh", "relu"),
    "norm": ("rms", "layer"),
    "positions": ("rotary", "learned", "sinusoidal"),
    "activation": ("swiglu", "geglu", "gelu", "gelu_tanh", "relu"),
    "pooling": ("last", "last_step", "first", "mean", "max", "attention"),
    "input_activation": ACTIVATIONS,
    "output_norm": ("none", "steps", "pooled"),
    "output_activation": ACTIVATIONS,
    "pooling_input_activation": ACTIVATIONS,
    "pooling_activation": ACTIVATIONS,
    "head_activation": ACTIVATIONS,
}
ADAPTABLE = ("qkv", "out", "up", "down")  # the matrices of a Transformer block that low-rank adapters can change
POSITIVE = ("layers", "width", "heads", "context_length")
COUNTS = (
    "vocab_size", "features", "classes", "input_width", "kv_heads", "inner", "pad_id", "pooling_width", "token_types",
    "separator_id", "head_width", "rotary_skip", "attention_window", "global_every",
    "ngram_buckets", "ngram_characters", "ngram_words", "ngram_tokens",
)  # fmt: skip
# Fields that do not affect the input and the body of a network, which versions with different heads can share.
HEAD_FIELDS = (
    "task", "classes", "dropout", "pooling", "tie_embeddings", "head_bias", "pad_id", "output_norm",
    "output_activation", "pooling_width", "pooling_activation", "head_widths", "head_activation", "head_norm",
    "ngram_buckets", "ngram_characters", "ngram_words", "ngram_tokens",
)  # fmt: skip
MOST_HEAD_LAYERS = 16
FEWEST_BUCKETS, LONGEST_NGRAM = 16, 8
# Fields that are written only if they differ from their defaults. A field that is added here therefore does not change
# the files of configurations that do not use it.
OPTIONAL = (
    "input_activation", "output_norm", "output_activation", "pooling_width", "pooling_activation", "head_widths",
    "pooling_input_activation", "head_activation", "input_norm", "token_types", "separator_id",
    "head_width", "qk_norm", "qkv_bias", "rotary_base", "rotary_scaling", "rotary_skip",
    "norm_bias", "first_norm", "attention_window", "global_every", "local_rotary_base", "head_norm",
    "ngram_buckets", "ngram_characters", "ngram_words", "ngram_tokens",
)  # fmt: skip
