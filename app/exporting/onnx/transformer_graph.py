"""Adds the layers of a Transformer that reads in both directions to a graph, as in `models/transformer.py`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from app.exporting.onnx import messages
from app.exporting.onnx.graph import Graph
from app.exporting.onnx.inputs import Padding
from app.exporting.source_version import SourceVersion
from app.importing.pytorch.tensors import Array, Tensors
from models.config import ModelConfig

GATES = {"swiglu": "silu", "geglu": "gelu"}
HIDDEN_SCORE = -1e30  # added to the scores of padding, whose weights become exactly 0


class TransformerGraph:
    """The layers of one Transformer."""

    def __init__(self, graph: Graph, version: SourceVersion, padding: Padding) -> None:
        self.graph, self.config, self.weights, self.padding = graph, version.config, version.tensors, padding
        config = self.config
        self._mask = self._hidden_scores()
        self._rotations = self._rotary(config.rotary_base) if config.positions == "rotary" else None
        self._local_mask, self._local_rotations = self._mask, self._rotations
        if config.attention_window:
            self._local_mask = graph.add("Add", self._mask, self._distant_scores())
            self._local_rotations = self._rotary(config.local_rotary_base) if self._rotations else None

    def hidden(self, x: str) -> str:
        """Return the hidden vectors (B, T, D) from the vectors that the body reads."""
        config = self.config
        if config.positions != "rotary":
            x = self.graph.add("Add", x, self._first(self._positions()))
        if config.input_norm:
            x = self._norm(x, "body.norm_input")
        for layer in range(config.layers):
            x = self._block(x, f"body.blocks.{layer}", layer)
        return self._norm(x, "body.norm") if config.final_norm else x

    def _block(self, x: str, name: str, layer: int) -> str:
        add, first = self.graph.add, self.config.norm_first
        normed = first and (layer > 0 or self.config.first_norm)
        attended = self._attention(self._norm(x, f"{name}.norm_attention") if normed else x, f"{name}.attention", layer)
        x = add("Add", x, attended)
        x = x if first else self._norm(x, f"{name}.norm_attention")
        x = add("Add", x, self._mlp(self._norm(x, f"{name}.norm_mlp") if first else x, f"{name}.mlp"))
        return x if first else self._norm(x, f"{name}.norm_mlp")

    def _attention(self, x: str, name: str, layer: int) -> str:
        graph, config = self.graph, self.config
        joined = graph.linear(x, self.weights[f"{name}.qkv.weight"], self.weights.get(f"{name}.qkv.bias"))
        heads, groups, key = config.heads, config.groups, config.key_width
        sizes = graph.integers(heads * key, groups * key, groups * key)
        parts = graph.split("Split", 3, joined, sizes, axis=2)
        queries, keys, values = (
            self._heads(part, count) for part, count in zip(parts, (heads, groups, groups), strict=True)
        )
        if config.qk_norm:
            queries = self._rms(queries, self.weights[f"{name}.norm_queries.weight"])
            keys = self._rms(keys, self.weights[f"{name}.norm_keys.weight"])
        local = config.window(layer) > 0
        rotations, mask = (self._local_rotations, self._local_mask) if local else (self._rotations, self._mask)
        if rotations and not (config.rotary_skip and (layer + 1) % config.rotary_skip == 0):
            queries, keys = self._rotated(queries, rotations), self._rotated(keys, rotations)
        keys, values = self._repeated(keys), self._repeated(values)
        scores = graph.add("MatMul", queries, graph.add("Transpose", keys, perm=[0, 1, 3, 2]))
        scores = graph.add("Mul", scores, graph.constant(1.0 / math.sqrt(key)))
        shares = graph.add("Softmax", graph.add("Add", scores, mask), axis=-1)
        mixed = graph.add("Transpose", graph.add("MatMul", shares, values), perm=[0, 2, 1, 3])
        flat = graph.add("Reshape", mixed, graph.integers(0, 0, heads * key))
        return graph.linear(flat, self.weights[f"{name}.out.weight"], self.weights.get(f"{name}.out.bias"))

    def _heads(self, x: str, count: int) -> str:
        """Split vectors into heads: (B, T, count * K) to (B, count, T, K)."""
        split = self.graph.add("Reshape", x, self.graph.integers(0, 0, count, self.config.key_width))
        return self.graph.add("Transpose", split, perm=[0, 2, 1, 3])

    def _repeated(self, x: str) -> str:
        """Repeat the keys or values of each group for all of its heads."""
        graph, config = self.graph, self.config
        if config.groups == config.heads:
            return x
        index = np.repeat(np.arange(config.groups), config.heads // config.groups)
        return graph.add("Gather", x, graph.constant(index, "group"), axis=1)

    def _rotated(self, x: str, rotations: tuple[str, str]) -> str:
        graph, half = self.graph, self.config.key_width // 2
        cosine, sine = rotations
        first, second = graph.split("Split", 2, x, graph.integers(half, half), axis=3)
        turned = graph.add("Concat", second, first, axis=3)
        return graph.add("Add", graph.add("Mul", x, cosine), graph.add("Mul", turned, sine))

    def _mlp(self, x: str, name: str) -> str:
        graph, config = self.graph, self.config
        up = graph.linear(x, self.weights[f"{name}.up.weight"], self.weights.get(f"{name}.up.bias"))
        if config.gated:
            inner = config.inner_width
            gate, up = graph.split("Split", 2, up, graph.integers(inner, inner), axis=2)
            up = graph.add("Mul", graph.activation(GATES[config.activation], gate), up)
        else:
            up = graph.activation(config.activation, up)
        return graph.linear(up, self.weights[f"{name}.down.weight"], self.weights.get(f"{name}.down.bias"))

    def _norm(self, x: str, name: str) -> str:
        weight = self.weights[f"{name}.weight"]
        if self.config.norm == "rms":
            return self._rms(x, weight)
        return layer_norm(self.graph, x, name, self.weights, self.config)

    def _rms(self, x: str, weight: Array) -> str:
        graph = self.graph
        mean = graph.add("ReduceMean", graph.add("Mul", x, x), axes=[-1], keepdims=1)
        root = graph.add("Sqrt", graph.add("Add", mean, graph.constant(self.config.norm_eps)))
        return graph.add("Mul", graph.add("Div", x, root), graph.constant(weight, "gain"))

    def _hidden_scores(self) -> str:
        """Return a mask (B, 1, 1, T) to add to the attention scores."""
        graph = self.graph
        padded = graph.add("Cast", graph.add("Not", self.padding.real), to=messages.FLOAT)
        scores = graph.add("Mul", padded, graph.constant(HIDDEN_SCORE))
        return graph.add("Unsqueeze", scores, graph.integers(1, 2))

    def _distant_scores(self) -> str:
        """Return a mask (T, T) that hides the steps outside the attention window of each step."""
        graph = self.graph
        time = graph.span(self.padding.steps)
        ahead = graph.add(
            "Sub", graph.add("Unsqueeze", time, graph.integers(0)), graph.add("Unsqueeze", time, graph.integers(1))
        )
        outside = graph.add("Greater", graph.add("Abs", ahead), graph.number(self.config.attention_window))
        return graph.add("Mul", graph.add("Cast", outside, to=messages.FLOAT), graph.constant(HIDDEN_SCORE))

    def _positions(self) -> Array:
        if self.config.positions == "learned":
            return self.weights["body.positions.weight"]
        angles = self._angles(self.config.width, 10_000.0)
        return np.stack((np.sin(angles), np.cos(angles)), -1).reshape(len(angles), -1).astype(np.float32)

    def _rotary(self, base: float) -> tuple[str, str]:
        """Return the factors (T, K) of the rotations: cosines, and sines with a negated first half."""
        angles = self._angles(self.config.key_width, base)
        cosine, sine = np.cos(angles), np.sin(angles)
        tables = np.concatenate((cosine, cosine), 1), np.concatenate((-sine, sine), 1)
        first, second = (self._first(table.astype(np.float32)) for table in tables)
        return first, second

    def _angles(self, width: int, base: float) -> NDArray[np.float64]:
        """Return the angle of each pair of values at each position."""
        rates = np.exp(np.arange(0, width, 2) * (-math.log(base) / width))
        if self.config.positions == "rotary":
            rates = _scaled(rates, self.config.rotary_scaling)
        return np.outer(np.arange(self.config.context_length), rates)

    def _first(self, table: Array) -> str:
        """Return the first rows of a table, one for each step of the input."""
        graph = self.graph
        end = graph.add("Unsqueeze", self.padding.steps, graph.integers(0))
        return graph.add("Slice", graph.constant(table, "positions"), graph.integers(0), end, graph.integers(0))


def layer_norm(graph: Graph, x: str, name: str, weights: Tensors, config: ModelConfig) -> str:
    """Apply a LayerNorm over the last dimension."""
    parts = [weights[part] for part in (f"{name}.weight", f"{name}.bias") if part in weights]
    constants = [graph.constant(part, "norm") for part in parts]
    return graph.add("LayerNormalization", x, *constants, axis=-1, epsilon=float(config.norm_eps))


def _scaled(rates: NDArray[np.float64], scaling: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the rotation rates, reduced for long texts as in `models/angles.py`."""
    if not scaling:
        return rates
    factor, *bounds = scaling
    if not bounds:
        return rates / factor
    low, high, original = bounds
    kept: NDArray[np.float64] = np.clip((rates * (original / (2 * math.pi)) - low) / (high - low), 0.0, 1.0)
    return kept * rates + (1.0 - kept) * rates / factor
