"""The names and shapes of a network's parameters, which are the tensors in a checkpoint's `model.safetensors`.

Imports no torch, so that any program can check, count and convert weights. The names are part of the file format and do
not change. Matrices are (out, in), as in torch.

    input.embedding.weight       (V, I)   for tokens; I = vector_width
    input.types.weight           (token_types, D)   unless token_types is 0
    input.projection.weight, .bias        (I, F), (I)   for numeric steps, unless input_width equals features
                                          and input_activation is "none"
    body.rnn.*                            rnn, lstm, gru: as in torch.nn.RNN, LSTM, GRU: weight_ih_l0, weight_hh_l0,
                                          bias_ih_l0, bias_hh_l0, …_l1; with `_reverse` for the second direction
    body.positions.weight        (context_length, D)   with learned positions
    body.norm_input.weight       (D)   with input_norm; with norm "layer" and norm_bias, also .bias
    body.blocks.N.attention.qkv.weight   ((H + 2 G) K, D)   all queries, then all keys, then all values
    body.blocks.N.attention.out.weight   (D, H K)   K = head_width, or D / H
    body.blocks.N.attention.norm_queries.weight, norm_keys.weight   (K)   with qk_norm
    body.blocks.N.mlp.up.weight          (inner, D); with a gate: (2 inner, D), the gate first
    body.blocks.N.mlp.down.weight        (D, inner)
    body.blocks.N.norm_attention.weight, norm_mlp.weight   (D); with norm "layer" and norm_bias, also .bias; without
                                          first_norm, the first layer has no norm_attention
    body.norm.weight                     (D)   with final_norm; with norm "layer" and norm_bias, also .bias
    norm.weight, norm.bias       (W), (W)   with output_norm "steps" or "pooled"; W = the body's width
    pooling.hidden.weight, .bias          (A, W), (A)   unless A = pooling_width is 0
    pooling.query.weight         (1, A) or (1, W)   with pooling "attention"
    head_layers.N.weight, .bias           (head_widths[N], X), (head_widths[N])
    head_norm.weight, .bias      (X), (X)   with head_norm; the bias only with norm_bias
    head.weight, head.bias       (C, X), (C); for generation (V, D), (V). No weight if tied; a bias if head_bias
    ngrams.weight, .bias, .idf   (N, C), (C), (N)   N = ngram_buckets; absent if N = 0; linear has no other tensors
    mix                          (2)   the weights of the scores of the network and of the n-grams; absent if N = 0
                                          for generation, only ngrams.weight (N, D) exists

X is the width of the vector that a head layer reads: the width of the previous layer, or W for the first layer. With
`bias`, every matrix in the blocks also has a .bias. Rotary positions pair value k of a head with value k + K/2.

To convert a `torch.nn.TransformerEncoder`, rename `layers.N.` to `body.blocks.N.`, and within it
self_attn.in_proj_weight to attention.qkv.weight, self_attn.out_proj to attention.out, linear1 to mlp.up, linear2 to
mlp.down, norm1 to norm_attention and norm2 to norm_mlp; rename the final norm to body.norm. The configuration then has
norm "layer" and bias true; `positions` depends on the original program.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from models.config import ModelConfig

Shape = tuple[int, ...]
GATES = {"rnn": 1, "lstm": 4, "gru": 3}  # each weight of a recurrent layer stacks this many matrices of `width` rows


def shapes(config: ModelConfig) -> dict[str, Shape]:
    """Return the shape of each parameter, keyed by name."""
    if config.architecture == "linear":
        return dict(_ngrams(config))
    return dict(itertools.chain(_input(config), _body(config), _head(config), _ngrams(config)))


def count(config: ModelConfig) -> int:
    """Return the number of parameters: the total number of values in all tensors."""
    return sum(math.prod(shape) for shape in shapes(config).values())


def body_width(config: ModelConfig) -> int:
    """Return the width of the body's hidden vectors: twice `width` for a bidirectional recurrent network."""
    return config.width * (2 if config.recurrent and config.bidirectional else 1)


def in_branch(name: str) -> bool:
    """Return whether the parameter `name` belongs to the n-gram branch or weights its output."""
    return name.startswith("ngrams.") or name == "mix"


def is_body_matrix(name: str, dimensions: int) -> bool:
    """Return whether the parameter `name` is a matrix of a recurrent layer or of a Transformer block."""
    return dimensions == 2 and name.startswith(("body.rnn.", "body.blocks."))


def _input(config: ModelConfig) -> Iterator[tuple[str, Shape]]:
    if config.input == "tokens":
        yield "input.embedding.weight", (config.vocab_size, config.vector_width)
        if config.token_types:
            yield "input.types.weight", (config.token_types, config.width)
    elif config.projected:
        yield "input.projection.weight", (config.vector_width, config.features)
        yield "input.projection.bias", (config.vector_width,)


def _body(config: ModelConfig) -> Iterator[tuple[str, Shape]]:
    if config.recurrent:
        yield from _recurrent(config)
        return
    if config.architecture != "transformer":
        message = f"models/parameters.py does not define the parameters of the body of {config.architecture!r}"
        raise NotImplementedError(message)
    if config.positions == "learned":
        yield "body.positions.weight", (config.context_length, config.width)
    if config.input_norm:
        yield from _norm("body.norm_input", config)
    for layer in range(config.layers):
        yield from _block(f"body.blocks.{layer}", config, normed=config.first_norm or layer > 0)
    if config.final_norm:
        yield from _norm("body.norm", config)


def _recurrent(config: ModelConfig) -> Iterator[tuple[str, Shape]]:
    rows = GATES[config.architecture] * config.width
    for layer in range(config.layers):
        read = body_width(config) if layer else config.vector_width
        for direction in ("", "_reverse") if config.bidirectional else ("",):
            yield f"body.rnn.weight_ih_l{layer}{direction}", (rows, read)
            yield f"body.rnn.weight_hh_l{layer}{direction}", (rows, config.width)
            yield f"body.rnn.bias_ih_l{layer}{direction}", (rows,)
            yield f"body.rnn.bias_hh_l{layer}{direction}", (rows,)


def _block(name: str, config: ModelConfig, normed: bool) -> Iterator[tuple[str, Shape]]:
    width, inner = config.width, config.inner_width
    heads, key = config.heads + 2 * config.groups, config.key_width
    up = inner * (2 if config.gated else 1)
    yield from _linear(f"{name}.attention.qkv", (heads * key, width), config.bias or config.qkv_bias)
    yield from _linear(f"{name}.attention.out", (width, config.heads * key), config.bias)
    if config.qk_norm:
        yield f"{name}.attention.norm_queries.weight", (key,)
        yield f"{name}.attention.norm_keys.weight", (key,)
    yield from _linear(f"{name}.mlp.up", (up, width), config.bias)
    yield from _linear(f"{name}.mlp.down", (width, inner), config.bias)
    if normed:
        yield from _norm(f"{name}.norm_attention", config)
    yield from _norm(f"{name}.norm_mlp", config)


def _linear(name: str, shape: Shape, bias: bool) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", shape
    if bias:
        yield f"{name}.bias", shape[:1]


def _norm(name: str, config: ModelConfig) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (config.width,)
    if config.norm == "layer" and config.norm_bias:
        yield f"{name}.bias", (config.width,)


def _head(config: ModelConfig) -> Iterator[tuple[str, Shape]]:
    width = body_width(config)
    if config.output_norm != "none":
        yield "norm.weight", (width,)
        yield "norm.bias", (width,)
    if config.task == "generation":
        if not config.tie_embeddings:
            yield "head.weight", (config.vocab_size, width)
        if config.head_bias:
            yield "head.bias", (config.vocab_size,)
    elif config.task != "embedding":
        yield from _row_head(config, width)


def _row_head(config: ModelConfig, width: int) -> Iterator[tuple[str, Shape]]:
    """Yield the parameters of the pooling and of the head in a network with one output vector per sequence."""
    if config.pooling == "attention":
        if config.pooling_width:
            yield from _linear("pooling.hidden", (config.pooling_width, width), True)
        yield "pooling.query.weight", (1, config.pooling_width or width)
    for number, wider in enumerate(config.head_widths):
        yield from _linear(f"head_layers.{number}", (wider, width), True)
        width = wider
    if config.head_norm:
        yield "head_norm.weight", (width,)
        if config.norm_bias:
            yield "head_norm.bias", (width,)
    yield from _linear("head", (config.classes, width), config.head_bias)


def _ngrams(config: ModelConfig) -> Iterator[tuple[str, Shape]]:
    if config.ngram_buckets and config.task == "generation":
        yield "ngrams.weight", (config.ngram_buckets, config.width)
    elif config.ngram_buckets:
        yield "ngrams.weight", (config.ngram_buckets, config.classes)
        yield "ngrams.bias", (config.classes,)
        yield "ngrams.idf", (config.ngram_buckets,)
        if config.architecture != "linear":
            yield "mix", (2,)
