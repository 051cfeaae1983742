"""Determines the role of each column in a file, and infers the task if the request does not name one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.errors import did_you_mean
from app.training.data.advice import find_label_columns, find_text_columns
from app.training.data.column_roles import check_roles
from app.training.data.files import Source
from app.training.data.formats import READERS
from app.training.data.guesses import guess_labels
from app.training.data.misspelt_columns import check_spelling
from app.training.data.numeric_rows import add_numeric_label, find_row_features, no_target, wide_series
from app.training.data.preferences import find_preferences
from app.training.data.prompts import find_messages, find_turns
from app.training.data.sheets import other_sheets
from app.training.data.usual_names import quoted
from app.training.failures import BadData
from app.wire.training_options import Columns

_TARGETS = {"classification": "label", "multilabel": "label", "regression": "value"}  # the target key of each task
_ANY_CASE = ("text", "text_pair", "label", "split")  # matched regardless of case, since another meaning is unlikely


@dataclass(frozen=True, slots=True)
class Layout:
    """The roles of a file's columns.

    `shape` is the kind of input in a row: "text" (a text, or a pair of texts), "completion" (a prompt and a
    completion), "chat" (messages), "features" (all steps of a numeric sequence), "series" (one step of a numeric
    sequence) or "row" (a numeric sequence of a single step, with a column for each feature).
    """

    source: Source
    task: str
    shape: str
    names: dict[str, str]  # maps each key, such as "label", to the name of its column
    steps: tuple[str, ...] = ()  # the feature columns, for the shapes "series" and "row"
    ignored: tuple[str, ...] = ()  # columns that have no meaning in this layout
    one_hot: tuple[str, ...] = ()  # columns of zeros and ones, one per label, instead of a "label" column
    task_inferred: bool = False  # whether the request leaves the task open
    absent: frozenset[str] = frozenset()  # keys without a column; a column with such a name would have a role

    @property
    def has_pairs(self) -> bool:
        """Whether the rows have a second text that is used."""
        return self.shape == "text" and "text_pair" in self.names and self.task != "generation"

    @property
    def roles(self) -> dict[str, str | list[str]]:
        """The column of each role that is used: a list of columns for one-hot labels and for the features of a step."""
        roles: dict[str, str | list[str]] = {k: name for k, name in self.names.items() if name not in self.ignored}
        if self.one_hot:
            roles["label"] = list(self.one_hot)
        if self.steps:
            roles["features"] = list(self.steps)
        return roles

    def fault(self, where: str, key: str, message: str) -> BadData:
        """Return the error for the value of `key` in the record at `where`."""
        return self.source.fault(message, where, self.place_of(key))

    def place_of(self, key: str) -> str:
        """Return the column for `key`, or the columns if each label has its own, as part of a message."""
        if key == "label" and self.one_hot:
            return f"columns {quoted(self.one_hot)}"
        return f"column {self.names.get(key, key)!r}"


def find_layout(source: Source, columns: Columns, task: str | None) -> Layout:
    """Return the layout of a file. If `task` is None, the task is inferred.

    Raises BadData, which lists the file's columns, if a required column is missing.
    """
    present = READERS[source.format].header(source)
    names = _names(source, columns, present)
    messages = find_messages(source, present)
    one_hot = _one_hot(source, columns, present)
    shape = _shape(columns, names, present, messages)
    if shape == "text" and "text" not in names and (preferences := find_preferences(source, present)):
        raise preferences
    steps = _row_features(source, columns, names, one_hot, task, present) if shape == "text" else ()
    shape = "row" if steps else shape
    turns = find_turns(source, shape, task, names, present, messages)
    if turns:
        return _generation(source, columns, task, names, present, turns)
    inferred = task is None
    if shape == "text" and "text" in names and not one_hot:
        one_hot = _guess_labels(source, names, present, task)
    if shape in ("features", "series", "row") and not one_hot:
        add_numeric_label(source, names, present, task)
    absent = _absent(shape, task, names)
    if task is None and shape == "text":
        check_spelling(source, names, _rest(present, names.values()))
    task = task or ("multilabel" if one_hot else _task(columns, names))
    if not one_hot or task == "regression":
        _check_needs(source, shape, task, None if inferred else task, names, present)
    steps = _step_columns(source, columns, names, task, present) if shape == "series" else steps
    inputs = {"text": ("text",), "features": ("features",), "series": ("series", "time"), "row": ()}[shape]
    targets = ("text_pair", _TARGETS[task]) if task in _TARGETS else ()
    used = {names[key] for key in (*inputs, *targets, "split") if key in names}
    one_hot = one_hot if task in ("classification", "multilabel") else ()
    check_roles(source, {key: names[key] for key in (*inputs, *targets, "split") if key in names}, one_hot, steps)
    ignored = _rest(present, {*used, *steps, *one_hot})
    return Layout(source, task, shape, names, steps, ignored, one_hot, inferred, absent)


def _names(source: Source, columns: Columns, present: list[str]) -> dict[str, str]:
    """Map each key to the column that the request names or, by default, the column of the same name.

    Some column names are compared regardless of case.
    """
    names = {}
    for key in columns.__struct_fields__:
        column: str | None = getattr(columns, key)
        if key in ("features", "label") and column is not None and column not in present and "," in column:
            continue  # a list of columns, which _step_columns or _one_hot checks
        if column is not None and column not in present:
            raise _missing(source, column, present, key)
        if column is not None or key in present:
            names[key] = column or key
        elif key in _ANY_CASE and len(alike := [name for name in present if name.lower() == key]) == 1:
            names[key] = alike[0]
            source.remark(f"column_{key}", f"has no column {key!r}; the column {alike[0]!r} is used instead")
    return names


def _one_hot(source: Source, columns: Columns, present: list[str]) -> tuple[str, ...]:
    """Return the columns of zeros and ones that the request lists (separated by commas) instead of a label column."""
    if columns.label is None or columns.label in present or "," not in columns.label:
        return ()
    names = tuple(name.strip() for name in columns.label.split(",") if name.strip())
    _check_present(source, names, present, "label")
    return names


def _check_present(source: Source, names: Iterable[str], present: list[str], key: str) -> None:
    """Raise BadData for the first of the listed names that is not a column."""
    for name in names:
        if name not in present:
            raise _missing(source, name, present, key)


def _guess_labels(source: Source, names: dict[str, str], present: list[str], task: str | None) -> tuple[str, ...]:
    """Find the columns that contain the labels if no column is named "label".

    If a single column has another usual name, it is added to `names`. Columns of zeros and ones are returned.
    """
    if task in ("generation", "regression") or "label" in names or (task is None and "value" in names):
        return ()
    labels = guess_labels(source, _rest(present, names.values()), present, task)
    if not labels:
        return ()
    listed = quoted(labels)
    other = "" if task else "; set task to generation to learn to generate the texts instead"
    if len(labels) == 1:
        names["label"] = labels[0]
        source.remark("usual_name", f"has no column 'label'; {listed} is used for the labels{other}")
        return ()
    source.remark(
        "one_hot", f"has no column 'label'; the columns of zeros and ones are used as labels: {listed}{other}"
    )
    return tuple(labels)


def _row_features(
    source: Source,
    columns: Columns,
    names: dict[str, str],
    one_hot: tuple[str, ...],
    task: str | None,
    present: list[str],
) -> tuple[str, ...]:
    """Return the features of each row in a plain table of numbers, or () for any other table.

    Raises BadData if the request lists the features of a table in which the rows are no inputs.
    """
    listed = columns.features if columns.features not in present else None
    if listed:
        _check_present(source, filter(None, map(str.strip, listed.split(","))), present, "features")
    steps = find_row_features(source, columns, names, one_hot, task, present)
    if listed and not steps:
        raise wide_series(source)
    return steps


def _missing(source: Source, column: str, present: list[str], key: str, hint: str = "") -> BadData:
    title = "; the first row must name the columns, so remove any title before it" if len(present) == 1 else ""
    message = (
        f"has no column {column!r} (its columns are {quoted(present)}){hint}{did_you_mean(column, present)}{title}"
        f"{other_sheets(source)}"
    )
    return source.fault(message, param=f"columns.{key}")


def _shape(columns: Columns, names: dict[str, str], present: list[str], messages: str | None) -> str:
    if "text" not in names and messages is not None:
        return "chat"
    if "text" not in names and {"prompt", "completion"} <= set(present):
        return "completion"
    if columns.text is None and "series" in names and "text" not in names:
        return "series"
    if columns.text is None and "features" in names and (columns.features or "text" not in names):
        return "features"
    return "text"


def _absent(shape: str, task: str | None, names: dict[str, str]) -> frozenset[str]:
    """Return the keys that have no column, such as "split". A column with the name of such a key would have a role."""
    keys = {"split"}
    if shape == "series":
        keys.add("time")
    if shape == "text" and task != "generation":
        keys.add("text_pair")
    if shape not in ("chat", "completion") and task is None:
        keys |= {"label", "value"} if "label" not in names else set()
    return frozenset(keys - names.keys())


def _generation(
    source: Source,
    columns: Columns,
    task: str | None,
    names: dict[str, str],
    present: list[str],
    inputs: dict[str, str],
) -> Layout:
    """Return the layout for conversations, or for prompts with completions."""
    shape = "chat" if "messages" in inputs else "completion"
    target_task = "classification" if columns.label else "regression" if columns.value else task
    if target_task not in (None, "generation"):
        kind, way = _other_use(shape, inputs)
        raise source.fault(f"contains {kind}, which can be used only for generation, not for {target_task}; {way}")
    absent = _absent(shape, task, names)
    used = {*inputs.values(), *(names[key] for key in ("split",) if key in names)}
    ignored = _rest(present, used)
    if rated := [names[key] for key in ("label", "value") if names.get(key) in ignored]:
        message = (
            f"is used for generation, so the model is trained on all answers; the column {rated[0]!r} has no effect"
        )
        source.remark("rated", message, level="warn")
    return Layout(source, "generation", shape, names | inputs, ignored=ignored, absent=absent)


def _other_use(shape: str, inputs: dict[str, str]) -> tuple[str, str]:
    """Return what the rows are, and how to use them for a task other than generation."""
    if shape == "completion":
        way = f"for another task, set columns.text to the column with the texts, such as {inputs['prompt']!r}"
        return "prompts with completions", way
    return "conversations", "for another task, write each conversation as one text, in a column named text"


def _task(columns: Columns, names: dict[str, str]) -> str:
    if columns.value is not None and columns.label is None:
        return "regression"
    if "label" in names:
        return "classification"
    return "regression" if "value" in names else "generation"


def _check_needs(
    source: Source, shape: str, task: str, requested: str | None, names: dict[str, str], present: list[str]
) -> None:
    """Raise BadData if the columns for the task are missing. `requested` is the task that the request names."""
    if shape == "text" and "text" not in names:
        raise _missing(source, "text", present, "text", find_text_columns(source, present, requested))
    target = _TARGETS.get(task)
    if target and target not in names:
        others = _rest(present, names.values())
        hint = f"; set columns.{target} to the name of the column to predict"
        hint = find_label_columns(source, present, others) if target == "label" and shape == "text" else hint
        raise _missing(source, target, present, target, hint)
    if task == "generation" and shape in ("features", "series"):
        raise no_target(source, requested, _rest(present, names.values()), present)


def _step_columns(
    source: Source, columns: Columns, names: dict[str, str], task: str, present: list[str]
) -> tuple[str, ...]:
    """Return the feature columns of a series: the listed columns or, by default, all columns without another role."""
    if columns.features:
        steps = [name.strip() for name in columns.features.split(",")]
        _check_present(source, steps, present, "features")
        return tuple(steps)
    requested = {getattr(columns, key) for key in columns.__struct_fields__}
    taken = requested | {names[key] for key in ("series", "time", "split", _TARGETS[task]) if key in names}
    steps = [name for name in present if name not in taken]
    if not steps:
        listed = quoted(present)
        raise source.fault(f"has no columns for the features: its columns are {listed}", param="columns.features")
    return tuple(steps)


def _rest(present: list[str], used: Iterable[str]) -> tuple[str, ...]:
    """Return the columns in `present` that are not in `used`."""
    excluded = set(used)
    return tuple(name for name in present if name not in excluded)
