"""Finds the vocabulary and the labels that training scripts save with the weights under the usual keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def find(keys: Iterable[str], extras: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Return (name, value) of the first entry under `keys` that is a non-empty list or dictionary, or None."""
    by_name = {name.lower(): name for name in reversed(list(extras))}
    names = (by_name[key] for key in keys if key in by_name)
    return next(((name, extras[name]) for name in names if _filled(extras[name])), None)


def report_unused(extras: Mapping[str, Any], used: Iterable[str], answers: Answers) -> None:
    """Record the file's unused entries, except those about the training run, such as `epoch`."""
    rest = [name for name in extras if name not in set(used) and not name.lower().startswith(EXPECTED)]
    if rest:
        answers.assumed.append(f"ignored={','.join(rest)}: the import ignores these entries of the file")


def label_names(value: Any, source: str) -> list[str]:
    """Labels by index, from a list, {index: name}, {name: index} or TorchServe's format {"0": ["id", "name"]}.

    Raises InvalidRequest for anything else.
    """
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


def _filled(value: Any) -> bool:
    return isinstance(value, list | dict) and bool(value)
