"""Which column of a file means what, and which task that makes.

Knows the names of `API.md`'s columns; reads nothing but the names of a file's columns.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from app.errors import did_you_mean
from app.training.data.columns import READERS, Layout
from app.training.data.files import Source
from app.training.failures import BadData
from app.wire.training_options import Columns

NEEDED = {"classification": "label", "multilabel": "label", "regression": "value"}
OPTIONAL = ("text_pair", "label", "value", "split")  # of a table with texts
_ALIKE = 0.76  # 'lable', 'labels' and 'valeu' are misspelt; 'table', 'volume' and 'lab' are not


def find(source: Source, columns: Columns, task: str | None) -> Layout:
    """Find the columns and settle the task. Raises BadData with the columns that exist."""
    present = READERS[source.format].header(source)
    names = _names(source, columns, present)
    shape = _shape(columns, names, present)
    absent = _absent(shape, task, names)
    if shape in ("chat", "completion"):
        return _generation(source, shape, task, names, present, absent)
    if task is None and shape == "text":
        _check_spelling(source, names, present)
    task = task or _task(columns, names)
    _check_needs(source, shape, task, names, present)
    steps = _step_columns(source, columns, names, task, present) if shape == "series" else ()
    read = {"text": ("text",), "features": ("features",), "series": ("series", "time")}[shape]
    learned = ("text_pair", NEEDED[task]) if task in NEEDED else ()
    used = {names[key] for key in (*read, *learned, "split") if key in names}
    return Layout(source, task, shape, names, steps, _rest(present, {*used, *steps}), absent)


def _names(source: Source, columns: Columns, present: list[str]) -> dict[str, str]:
    names = {}
    for key in columns.__struct_fields__:
        wanted: str | None = getattr(columns, key)
        if key == "features" and wanted is not None and wanted not in present and "," in wanted:
            continue  # the feature columns of a long table: checked where they are read
        if wanted is not None and wanted not in present:
            raise _missing(source, wanted, present, key)
        if wanted is not None or key in present:
            names[key] = wanted or key
    return names


def _missing(source: Source, wanted: str, present: list[str], key: str, hint: str = "") -> BadData:
    known = ", ".join(map(repr, present))
    said = f"has no column {wanted!r}{did_you_mean(wanted, present)}; its columns are {known}{hint}"
    return source.fault(said, param=f"columns.{key}")


def _shape(columns: Columns, names: dict[str, str], present: list[str]) -> str:
    if not {"text", "label", "value"} & set(names):
        if "messages" in present:
            return "chat"
        if {"prompt", "completion"} <= set(present):
            return "completion"
    if columns.text is None and "series" in names and "text" not in names:
        return "series"
    if columns.text is None and "features" in names and (columns.features or "text" not in names):
        return "features"
    return "text"


def _absent(shape: str, task: str | None, names: dict[str, str]) -> frozenset[str]:
    """The default names that no column has, and that would change what is learned if one had."""
    wanted = {"split"}
    if shape == "series":
        wanted.add("time")
    if shape == "text" and task != "generation":
        wanted.add("text_pair")
    if shape not in ("chat", "completion") and task is None:
        wanted |= {"label", "value"} if "label" not in names else set()
    return frozenset(wanted - names.keys())


def _generation(
    source: Source, shape: str, task: str | None, names: dict[str, str], present: list[str], absent: frozenset[str]
) -> Layout:
    if task not in (None, "generation"):
        raise source.fault(f"holds prompts and completions, which is data for generation, not {task}")
    read = ("messages",) if shape == "chat" else ("prompt", "completion")
    names = names | dict(zip(read, read, strict=True))
    used = {*read, *(names[key] for key in ("split",) if key in names)}
    return Layout(source, "generation", shape, names, ignored=_rest(present, used), absent=absent)


def _task(columns: Columns, names: dict[str, str]) -> str:
    if columns.value is not None and columns.label is None:
        return "regression"
    if "label" in names:
        return "classification"
    return "regression" if "value" in names else "generation"


def _check_spelling(source: Source, names: dict[str, str], present: list[str]) -> None:
    """A misspelt column must not make another task of the data in silence."""
    absent = [key for key in OPTIONAL if key not in names and not (key == "value" and "label" in names)]
    for column in _rest(present, names.values()):
        near = difflib.get_close_matches(column.strip().lower().removesuffix("s"), absent, n=1, cutoff=_ALIKE)
        if near:
            raise source.fault(
                f"did you mean {near[0]!r}? If so, rename it, or name it as columns.{near[0]}; if not, say which task "
                "this is for (task), and the column is left out",
                f"column {column!r}",
                param=f"columns.{near[0]}",
            )


def _check_needs(source: Source, shape: str, task: str, names: dict[str, str], present: list[str]) -> None:
    if shape == "text" and "text" not in names:
        hint = "; say which one holds the texts with columns.text"
        raise _missing(source, "text", present, "text", hint)
    needed = NEEDED.get(task)
    if needed and needed not in names:
        raise _missing(source, needed, present, needed, f"; say which one to learn with columns.{needed}")
    if task == "generation" and shape in ("features", "series"):
        raise source.fault("holds numbers, and generation learns from text")


def _step_columns(
    source: Source, columns: Columns, names: dict[str, str], task: str, present: list[str]
) -> tuple[str, ...]:
    """The numbers of a step: those that are named, else whatever the task does not need and nobody has named."""
    if columns.features:
        steps = [name.strip() for name in columns.features.split(",")]
        for name in steps:
            if name not in present:
                raise _missing(source, name, present, "features")
        return tuple(steps)
    named = {getattr(columns, key) for key in columns.__struct_fields__}
    taken = named | {names[key] for key in ("series", "time", "split", NEEDED[task]) if key in names}
    steps = [name for name in present if name not in taken]
    if not steps:
        kept = ", ".join(repr(name) for name in present)
        raise source.fault(f"has no column left for the features beside {kept}", param="columns.features")
    return tuple(steps)


def _rest(present: list[str], used: Iterable[str]) -> tuple[str, ...]:
    known = set(used)
    return tuple(name for name in present if name not in known)
