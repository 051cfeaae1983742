"""Builds the graph of an ONNX file: each method adds one operation and returns the name of its result."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.exporting.onnx import messages
from app.exporting.onnx.messages import Attribute, GraphParts, Value


class Graph:
    """A graph under construction. Results are named after their operations and numbered."""

    def __init__(self) -> None:
        self.parts = GraphParts()
        self._count = 0

    def input(self, name: str, type_: int, *shape: int | str) -> str:
        """Declare an input of the graph."""
        self.parts.inputs.append(Value(name, type_, shape))
        return name

    def output(self, name: str, result: str, *shape: int | str, type_: int = messages.FLOAT) -> None:
        """Declare an output of the graph, which is the result of an operation. By default, its numbers are float32."""
        self.parts.nodes.append(messages.node("Identity", [result], [name], {}))
        self.parts.outputs.append(Value(name, type_, shape))

    def constant(self, value: NDArray[Any] | float, name: str = "constant") -> str:
        """Add a constant. A Python float becomes a float32 scalar."""
        array = np.float32(value) if isinstance(value, float) else value
        unique = self._unique(name)
        self.parts.constants[unique] = np.asarray(array)
        return unique

    def integers(self, *values: int) -> str:
        """Add a constant list of integers, for shapes and axes."""
        return self.constant(np.array(values, np.int64), "integers")

    def number(self, value: int) -> str:
        """Add a scalar integer constant."""
        return self.constant(np.array(value, np.int64), "number")

    def add(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """Add an operation with one result."""
        return self.split(operator, 1, *inputs, **attributes)[0]

    def split(self, operator: str, results: int, *inputs: str, **attributes: Attribute) -> list[str]:
        """Add an operation with several results."""
        names = [self._unique(operator.lower()) for _ in range(results)]
        self.parts.nodes.append(messages.node(operator, inputs, names, attributes))
        return names

    def linear(self, x: str, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> str:
        """Multiply by a matrix (out, in), as in torch, and add a bias."""
        product = self.add("MatMul", x, self.constant(np.ascontiguousarray(weight.T), "weight"))
        return product if bias is None else self.add("Add", product, self.constant(bias, "bias"))

    def size(self, x: str, axis: int) -> str:
        """Compute the size of one dimension, as an integer scalar."""
        return self.add("Gather", self.add("Shape", x), self.number(axis), axis=0)

    def span(self, end: str) -> str:
        """Compute the integers from 0 to `end` - 1."""
        return self.add("Range", self.number(0), end, self.number(1))

    def activation(self, name: str, x: str) -> str:
        """Apply one of the functions of `models/choices.py`, with PyTorch's defaults."""
        simple = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}
        if name in simple:
            return self.add(simple[name], x)
        if name == "silu":
            return self.add("Mul", x, self.add("Sigmoid", x))
        if name in ("gelu", "gelu_tanh"):
            return self._gelu(x, name == "gelu_tanh")
        if name in ("elu", "leaky_relu"):
            return self.add("Elu", x, alpha=1.0) if name == "elu" else self.add("LeakyRelu", x, alpha=0.01)
        if name != "none":
            raise ValueError(f"this export has no ONNX operations for the activation {name!r}")
        return x

    def _gelu(self, x: str, approximate: bool) -> str:
        if approximate:  # 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
            cubed = self.add("Mul", self.add("Mul", x, self.add("Mul", x, x)), self.constant(0.044715))
            inner = self.add("Mul", self.add("Add", x, cubed), self.constant(float(np.sqrt(2 / np.pi))))
            share = self.add("Add", self.add("Tanh", inner), self.constant(1.0))
        else:
            inner = self.add("Mul", x, self.constant(float(np.sqrt(0.5))))
            share = self.add("Add", self.add("Erf", inner), self.constant(1.0))
        return self.add("Mul", self.add("Mul", x, share), self.constant(0.5))

    def _unique(self, name: str) -> str:
        self._count += 1
        return f"{name}_{self._count}"
