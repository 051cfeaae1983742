"""Finds the vocabulary and the labels that training scripts save with the weights under the usual keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from app.errors import InvalidRequest
from app.importing.questions import Answers

VOCABULARIES = (
    "vocab", "vocabulary", "word2idx", "word_to_idx", "word2id", "word_to_id", "word2index", "word_to_ix", "word_index",
    "token_to_id", "token2id", "char2idx", "char_to_idx", "char_to_ix", "stoi", "itos", "idx2word", "idx_to_word",
    "words",
)  # fmt: skip
LABELS = (
    "classes", "class_names", "labels", "label_names", "target_names", "categories", "id2label", "idx_to_class",
    "idx2label", "class_to_idx", "label_to_idx", "label2id", "label2idx", "index_to_name",
)  # fmt: skip
EXPECTED = ("epoch", "loss", "step", "optim", "sched", "scaler", "best", "history", "hist", "iter", "args", "acc")


def find(keys: Collection[str], extras: Mapping[Any, Any]) -> tuple[str, Any] | None:
    """Return (path, value) of the first entry under `keys` that is a non-empty list or dictionary, or None.

    If there is none, the values of `extras` are searched, as in `config: {classes: …}`. If the entry itself contains an
    entry under `keys`, as `vocab: {stoi: …, itos: …}` does, the inner entry is returned.
    """
    entry = _first(keys, extras) or _first(keys, _inner_entries(extras))
    if entry is None:
        return None
    return _first(keys, _inner_entries(dict([entry]))) or entry


def report_unused(extras: Mapping[str, Any], used: Collection[str], answers: Answers) -> None:
    """Record the file's unused entries, except those about the training run, such as `epoch`.

    If an entry inside a dictionary was used, the dictionary's other entries are recorded with their paths.
    """
    rest = []
    for name, value in extras.items():
        is_partly_used = any(path.startswith(f"{name}/") for path in used)
        rest += [f"{name}/{inner}" for inner in value] if is_partly_used else [name]
    rest = [path for path in rest if path not in used and not _last_part(path).startswith(EXPECTED)]
    if rest:
        answers.assumed.append(f"ignored={','.join(rest)}: the import ignores these entries of the file")


def label_names(value: Any, source: str) -> list[str]:
    """Return the labels, ordered by the index of their output.

    `value` is a list, {index: name}, {name: index}, TorchServe's format {"0": ["id", "name"]}, or an object with an
    entry in one of these forms, as in {"classes": ["a", "b"]}. Raises InvalidRequest for anything else.
    """
    inner = find(LABELS, value) if isinstance(value, dict) else None
    value = value if inner is None else inner[1]
    if isinstance(value, list) and value and all(isinstance(name, str | int) for name in value):
        return [str(name) for name in value]
    names = _by_index(value) if isinstance(value, dict) and value else {}
    if not names or sorted(names) != list(range(len(value))):
        raise InvalidRequest(
            f"{source}: labels must be a list of names, or an object that maps the index of each output (0, 1, …) to "
            "its name, or each name to its index",
            param="labels",
        )
    return [names[index] for index in range(len(names))]


def _by_index(value: dict[Any, Any]) -> dict[int, str]:
    if all(isinstance(index, int) and not isinstance(index, bool) for index in value.values()):
        return {index: str(name) for name, index in value.items()}
    if not all(str(index).isdecimal() for index in value):
        return {}
    # In TorchServe's files for ImageNet, each value is a list of an identifier and the name.
    plain = {int(index): name[-1] if isinstance(name, list) and name else name for index, name in value.items()}
    return {index: name for index, name in plain.items() if isinstance(name, str)}


def _first(keys: Iterable[str], entries: Mapping[Any, Any]) -> tuple[str, Any] | None:
    by_name = {_last_part(str(path)): path for path in reversed(list(entries))}
    paths = (by_name[key] for key in keys if key in by_name)
    return next(((path, entries[path]) for path in paths if _filled(entries[path])), None)


def _inner_entries(extras: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the non-empty lists and dictionaries inside values of `extras`, by path, such as `config/classes`."""
    outer = [(path, value) for path, value in extras.items() if isinstance(value, dict)]
    return {f"{path}/{key}": inner for path, value in outer for key, inner in value.items() if _filled(inner)}


def _last_part(path: str) -> str:
    return path.rpartition("/")[2].lower()


def _filled(value: Any) -> bool:
    return isinstance(value, list | dict) and bool(value)
