"""Finds the role of each layer around a body: input, attention pooling or head.

A reading assigns a role to every layer. If several readings fit the shapes and names, the user must choose one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.importing.pytorch.parts import Layer, UnknownNetwork
from app.importing.pytorch.tensors import Tensors
from app.importing.questions import Answers, Question

MOST_LAYERS, MOST_INPUTS = 8, 3
Chain = tuple[Layer, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Roles:
    """The layers around a body, in groups. Within each group, the layers are in the order in which they are applied.

    `embedding` has the shape (vocabulary, width). `inputs` compute the body's input from features or embeddings.
    `scorer` computes one score per step, for attention pooling. The last layer of `head` computes the outputs.
    """

    head: Chain
    embedding: Layer | None = None
    inputs: Chain = ()
    scorer: Chain = ()

    @property
    def order(self) -> tuple[str, ...]:
        """The names of the layers in the order in which they are applied. "body" stands for all layers of the body."""
        first = self.inputs if self.embedding is None else (self.embedding, *self.inputs)
        before, after = ([layer.name for layer in chain] for chain in (first, (*self.scorer, *self.head)))
        return (*before, "body", *after)

    def __str__(self) -> str:
        return ">".join(self.order)


def find_roles(
    layers: list[Layer], sizes: tuple[int, int], body: str, answers: Answers, order: list[str] | None
) -> Roles:
    """Find the roles of all `layers` around a body. `sizes` are the sizes of the body's input and output vectors.

    `body` is the name of one of the body's tensors. `order` lists the names of the tensors in the order in which the
    program defines its layers, or is None if the file does not preserve this order. Raises UnknownNetwork if no reading
    fits.
    """
    readings = list(_readings(layers, *sizes)) if len(layers) <= MOST_LAYERS else []
    if not readings:
        tensors: Tensors = {f"{layer.name}.weight": layer.weight for layer in layers}
        reason = (
            f"apart from its body, which has {sizes[0]} inputs and {sizes[1]} outputs, it must have one head of "
            f"linear layers and at most one input layer; the first layer of the head must have {sizes[1]} inputs"
            f"{_concatenation(layers, sizes[1])}"
        )
        raise UnknownNetwork(reason, list(tensors), tensors)
    if answers.get("layers") is None:
        named = _best(readings, _named)
        placed = _best(named, lambda reading: _in_order(reading, body, order)) if order else named
        if len(placed) == 1:
            _tell(placed[0], readings, named, answers, order is None or _in_order(placed[0], body, order) == 1)
            return placed[0]
        readings = placed
    options = tuple(str(reading) for reading in readings)
    answer = answers.ask(Question("layers", "what is the order of the layers?", options))
    return next(reading for reading in readings if str(reading) == answer)


def _concatenation(layers: list[Layer], gives: int) -> str:
    """Return a note on a layer that probably reads several concatenated vectors of the body, or "" if there is none."""
    joined = next((layer for layer in layers if layer.inputs > gives and layer.inputs % gives == 0), None)
    if joined is None or any(layer.outputs == joined.inputs for layer in layers):
        return ""
    times = joined.inputs // gives
    return (
        f". The layer {joined.name!r} reads {joined.inputs} numbers, so it probably reads {times} vectors of the body, "
        "joined with torch.cat, such as the mean and the maximum of the steps; such a network cannot be imported"
    )


def _tell(reading: Roles, readings: list[Roles], named: list[Roles], answers: Answers, in_order: bool) -> None:
    """Record the reason for choosing `reading`, unless it is the only reading and matches the order in the file."""
    if len(readings) > 1:
        reason = "the names of the layers" if len(named) == 1 else "the order of the layers in the file"
        answers.assume("layers", str(reading), reason)
    elif not in_order:
        answers.assume(
            "layers", str(reading), "the only order in which the shapes match; the order in the file is different"
        )


def _readings(layers: list[Layer], reads: int, gives: int) -> Iterator[Roles]:
    """Yield every reading that fits the shapes and uses each layer exactly once."""
    for embedding, inputs in _inputs(layers, reads):
        rest = [layer for layer in layers if layer is not embedding and layer not in inputs]
        for length in range(min(3, len(rest))):
            for scorer in itertools.permutations(rest, length):
                if scorer and not (_chained(scorer, gives) and scorer[-1].outputs == 1):
                    continue
                others = [layer for layer in rest if layer not in scorer]
                for head in itertools.permutations(others):
                    if head and _chained(head, gives):
                        yield Roles(head, embedding, inputs, scorer)


def _inputs(layers: list[Layer], reads: int) -> Iterator[tuple[Layer | None, Chain]]:
    """Yield every possible input: an embedding or None, and the chain of layers between it and the body."""
    tables = [layer for layer in layers if layer.bias is None]
    for length in range(min(MOST_INPUTS, len(layers)) + 1):
        for chain in itertools.permutations(layers, length):
            if chain and not (_chained(chain, chain[0].inputs) and chain[-1].outputs == reads):
                continue
            width = chain[0].inputs if chain else reads
            yield None, chain
            yield from ((table, chain) for table in tables if table not in chain and table.inputs == width)


def _chained(chain: Chain, width: int) -> bool:
    """Whether the first layer has `width` inputs and each layer's output size is the input size of the next layer."""
    return chain[0].inputs == width and all(a.outputs == b.inputs for a, b in itertools.pairwise(chain))


def _best(readings: list[Roles], score: Callable[[Roles], int]) -> list[Roles]:
    most = max(map(score, readings))
    return [reading for reading in readings if score(reading) == most]


def _named(reading: Roles) -> int:
    """Return how many layers have names that fit their role, minus how many have names that fit another role."""
    embedding = reading.embedding is not None and "emb" in reading.embedding.name.lower()
    others = (*reading.inputs, *reading.head)
    wrong = sum("emb" in layer.name.lower() or "att" in layer.name.lower() for layer in others)
    return embedding + sum("att" in layer.name.lower() for layer in reading.scorer) - wrong


def _in_order(reading: Roles, body: str, order: list[str] | None) -> int:
    """Return 1 if the layers are applied in the order in which the file lists them, otherwise 0."""
    names = order or []
    tensors = [(body,) if part == "body" else (f"{part}.weight", f"{part}weight") for part in reading.order]
    places = [next(i for i, name in enumerate(names) if name in pair) for pair in tensors]
    return int(places == sorted(places))
