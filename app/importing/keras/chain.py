"""Orders the layers of a model as the model applies them, and reads the calls that a functional model records."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from app.importing.keras.layers import MASK, KerasLayer, read_entries, shown, unsupported

EMBEDDING = "Embedding"
SEVERAL = (
    "reads several inputs, or shares its input with another layer; only models that apply their layers one after "
    "another can be imported"
)


def read_layers(model: Any) -> list[KerasLayer]:
    """Return the layers in a parsed configuration. Raises UnknownNetwork unless they are applied one after another."""
    sequential, layers, entries = read_entries(model)
    return layers if sequential else _chain(layers, entries)


def _chain(layers: list[KerasLayer], entries: list[Any]) -> list[KerasLayer]:
    """Order the layers of a functional model. Raises UnknownNetwork if they do not form a single chain."""
    names = [str(entry.get("name", layer.name)) for layer, entry in zip(layers, entries, strict=True)]
    if len(set(names)) < len(names):
        raise unsupported("its configuration has two layers of one name")
    masks = {name for name, layer in zip(names, layers, strict=True) if layer.kind == MASK}
    begin, compared, embedded = None, set(), set()
    after: dict[str, tuple[str, KerasLayer]] = {}
    for name, layer, entry in zip(names, layers, entries, strict=True):
        nodes = entry.get("inbound_nodes")
        if layer.kind == "InputLayer" and not nodes and begin is None:
            begin = (name, layer)
        elif not isinstance(nodes, list) or len(nodes) != 1:
            raise unsupported(f"{layer} {SEVERAL}")
        elif layer.kind == MASK:
            compared.add(_compared(layer, nodes[0]))
        else:
            source = _source(layer, nodes[0], masks)
            embedded |= {source} if layer.kind == EMBEDDING else set()
            if source in after or source in masks:
                raise unsupported(f"{layer} {SEVERAL}")
            after[source] = (name, layer)
    if compared - embedded:
        raise unsupported("its mask compares something other than the token ids that the Embedding reads")
    return _follow(begin, after, len(layers) - len(masks))


def _follow(
    begin: tuple[str, KerasLayer] | None, after: Mapping[str, tuple[str, KerasLayer]], count: int
) -> list[KerasLayer]:
    if begin is None:
        raise unsupported("its configuration has no input layer")
    name, layer = begin
    chain = [layer]
    while name in after and len(chain) <= count:
        name, layer = after[name]
        chain.append(layer)
    if len(chain) != count:
        raise unsupported("its layers do not form a single chain from one input to one output")
    return chain


def _compared(layer: KerasLayer, node: Any) -> str:
    """Return the name of the layer whose output is compared with 0. Raises UnknownNetwork for any other comparison."""
    args, named = _arguments(node)
    if len(args) != 2 or named or isinstance(args[1], bool) or args[1] != 0 or _tensor(args[0]) is None:
        raise unsupported(f"{layer} compares something other than token ids with 0")
    return str(_tensor(args[0]))


def _source(layer: KerasLayer, node: Any, masks: Collection[str]) -> str:
    """Return the name of the only layer that a layer reads. Raises UnknownNetwork if the call has other arguments."""
    args, named = _arguments(node)
    source = _tensor(args[0]) if len(args) == 1 else None
    if source is None:
        raise unsupported(f"{layer} {SEVERAL}")
    for name, value in named.items():
        if name == "mask":
            right = value is None or _tensor(value) in masks
        else:
            right = value is None or (name == "training" and value is False)
        if not right:
            raise unsupported(
                f"{layer} is called with the argument '{shown(name)}', which changes its results; build the model "
                "without it"
            )
    return source


def _arguments(node: Any) -> tuple[list[Any], Mapping[str, Any]]:
    """Return the positional and the named arguments of a call, as Keras 2 or 3 records it; no arguments if invalid."""
    if isinstance(node, dict):
        args, named = node.get("args"), node.get("kwargs", {})
    else:
        if isinstance(node, list) and len(node) == 1:
            node = node[0]
        valid = isinstance(node, list) and len(node) in (3, 4)
        args, named = ([node[:3]], node[3] if len(node) == 4 else {}) if valid else (None, None)
    return (args, named) if isinstance(args, list) and isinstance(named, dict) else ([], {})


def _tensor(value: Any) -> str | None:
    """Return the name of the layer whose first call and output a tensor is, or None for anything else."""
    config = value.get("config") if isinstance(value, dict) else None
    history: Any = config.get("keras_history") if isinstance(config, dict) else value
    valid = isinstance(history, list) and len(history) == 3 and isinstance(history[0], str) and history[1:] == [0, 0]
    return history[0] if valid else None
