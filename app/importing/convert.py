"""Converts weights from other programs to a checkpoint directory. Used by `ostinato import` on the user's machine.

Reads the file without running any code in it, infers the network from the names and shapes of the tensors, and asks the
user for all settings that the tensors do not determine. Imports no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.checkpoint.directory import LABELLED
from app.errors import InvalidRequest
from app.importing.extras import LABELS, VOCABULARIES, find, label_names, report_unused
from app.importing.keras.infer_keras import read_model
from app.importing.keras.padding import check_masked_id
from app.importing.keras.sources import is_keras
from app.importing.keras.vectorization import check_own
from app.importing.output import Converted, write
from app.importing.pytorch.infer import infer
from app.importing.pytorch.network import InferredNetwork
from app.importing.pytorch.state_dict import read
from app.importing.pytorch.tensors import check_finite
from app.importing.questions import Answers, Question
from app.importing.splitting import CONDITIONS, ask_before_vocabulary
from app.importing.vocabulary import tokenizer_from, tokenizer_of
from app.tokenization.tokenizer import Tokenizer
from app.wording import quantity

NUMBERS = "numbers"


def convert(
    source: Path,
    target: Path,
    *,
    labels: list[str] | None = None,
    vocabulary: Path | None = None,
    fields: Mapping[str, str] | None = None,
    allow_pickle_tensors: bool = False,
) -> Converted:
    """Write the new checkpoint directory `target` from the weights in `source`.

    `fields` contains the user's answers. Raises ImportQuestion with all questions that are still open, UnknownNetwork
    for a network that cannot be imported, and ForeignFileInvalid for a file that is damaged or could be read only by
    running code.
    """
    answers = Answers(fields or {})
    if labels is None and (answer := answers.get("labels")) not in (None, NUMBERS, ""):
        labels = answer.split(",")
    answers.labels = None if labels is None else len(labels)
    if is_keras(source):
        return _convert_keras(source, target, labels, vocabulary, answers)
    saved = read(source, answers, allow_pickle_tensors=allow_pickle_tensors)
    own_labels = find(LABELS, saved.extras) if labels is None and answers.get("labels") is None else None
    if own_labels is not None:
        labels = label_names(own_labels[1], own_labels[0])
        answers.labels, answers.labels_entry = len(labels), own_labels[0]
    network = infer(saved.tensors, answers, saved.order)
    check_finite(saved.tensors)
    if network.fields["task"] not in LABELLED and own_labels is not None:
        own_labels = labels = None
    names = _labels(network, labels, answers)
    own_words = find(VOCABULARIES, saved.extras) if vocabulary is None and "vocab_size" in network.fields else None
    tokenizer = _tokenizer(network, vocabulary, own_words, answers)
    for field, entry in (("labels", own_labels), ("vocabulary", own_words)):
        if entry is not None:
            answers.assumed.append(f"{field}={entry[0]}: taken from the file's entry with this name")
    report_unused(saved.extras, [entry[0] for entry in (own_labels, own_words) if entry is not None], answers)
    answers.settle()
    return write(source, target, network, names, tokenizer, answers.assumed)


def _convert_keras(
    source: Path, target: Path, labels: list[str] | None, vocabulary: Path | None, answers: Answers
) -> Converted:
    answers.keras = True
    model = read_model(source, answers)
    check_finite(model.network.tensors)
    names = _labels(model.network, labels, answers)
    tokenizer = model.tokenizer or _tokenizer(model.network, vocabulary, None, answers)
    if model.tokenizer is not None:
        check_own(model.tokenizer, model.network.fields["vocab_size"], vocabulary)
    if model.masked and tokenizer is not None and not answers.open:
        check_masked_id(tokenizer)
    answers.settle()
    return write(source, target, model.network, names, tokenizer, answers.assumed)


def _labels(network: InferredNetwork, labels: list[str] | None, answers: Answers) -> list[str] | None:
    """Return the names of the network's outputs, or None for tasks without labels."""
    task = network.fields["task"]
    open_task = any(question.field == "task" for question in answers.open)
    if task not in LABELLED:
        if labels and not open_task:
            raise InvalidRequest(f"a network for {task} has no labels; leave --labels out", param="labels")
        if open_task and not labels:
            condition = "for a task with labels, add --labels a,b"
            answers.ask(
                Question("labels", "if the task has labels, what are they (--labels a,b)?", condition=condition)
            )
        return None
    count = network.fields["classes"]
    if labels is None:
        text = (
            f"what are the labels of the {quantity(count, 'output')}, in order (--labels a,b,c)? {NUMBERS}: 0, 1, 2, …"
        )
        answer = answers.ask(Question("labels", text))
        assert answer in (NUMBERS, "")  # `convert` has passed any other answer as `labels`
        labels = [str(i) for i in range(count)]
    if len(labels) != count:
        raise InvalidRequest(
            f"the network has {quantity(count, 'output')}, so it requires {quantity(count, 'label')}; "
            f"{quantity(len(labels), 'label')} {'is' if len(labels) == 1 else 'are'} given",
            param="labels",
        )
    if repeated := [label for label, times in Counter(labels).items() if times > 1]:
        raise InvalidRequest(
            f"the label {repeated[0]!r} is given more than once; each output requires a different label",
            param="labels",
        )
    return labels


def _tokenizer(
    network: InferredNetwork, vocabulary: Path | None, own: tuple[str, Any] | None, answers: Answers
) -> Tokenizer | None:
    """Return the network's tokenizer, or None if the network reads numeric features."""
    if network.fields["input"] != "tokens":
        if vocabulary is not None:
            raise InvalidRequest("this network reads numbers, so it has no vocabulary", param="vocabulary")
        return None
    rows = network.fields["vocab_size"]
    if vocabulary is not None:
        return tokenizer_of(vocabulary, rows, answers)
    if own is not None:
        return tokenizer_from(own[1], own[0], rows, answers)
    text = (
        "which file contains the tokens (--vocabulary FILE)? The file may be a JSON list or dictionary, a text file "
        f"with one token on each line, or a tokenizer.json. {CONDITIONS.format(rows=rows)}"
    )
    answers.open.append(Question("vocabulary", text))
    ask_before_vocabulary(answers)
    return None
