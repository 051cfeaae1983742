"""The usual names of columns, used to recognise a header, and a function that formats lists of names for messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

USUAL_LABELS = {
    "label", "labels", "class", "classes", "category", "categories", "sentiment", "target", "tag", "tags", "topic",
    "intent", "emotion", "y", "polarity", "stars", "rating", "score", "genre", "annotation", "gold", "gold_label",
}  # fmt: skip
# Error messages suggest columns with these names first. The additional names come from other languages and annotation
# tools; a column with such a name is not used unless the request names it.
SUGGESTED_LABELS = USUAL_LABELS | {
    "choice", "kategorie", "klasse", "etikett", "thema", "stimmung", "categorie", "catégorie", "classe", "étiquette",
    "etiquette", "thème", "theme", "sujet", "sentimiento", "categoria", "categoría", "clase", "etiqueta", "tema",
    "classificazione", "etichetta", "argomento", "rótulo", "rotulo", "onderwerp", "категория", "класс", "метка",
    "类别", "標籤", "标签", "カテゴリ", "ラベル", "분류", "라벨",
}  # fmt: skip
INPUTS = {"text", "prompt", "features", "series", "messages"}
TARGETS = {"label", "value", "completion", "split", "time", *USUAL_LABELS}
TITLE_ROWS = 20  # the number of rows that are searched for the header, because a title may precede it
_LISTED, _CHARACTERS = 20, 60  # the number of columns that a message lists, and the characters of each


def quoted(names: Iterable[str]) -> str:
    """List the names in quotes, separated by commas. Shortens long names, and cuts long lists."""
    every = list(names)
    shown = [repr(name if len(name) <= _CHARACTERS else f"{name[: _CHARACTERS - 1]}…") for name in every[:_LISTED]]
    more = len(every) - _LISTED
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def header_after_title(rows: Sequence[Sequence[str]], requested: Sequence[str] = ()) -> int:
    """Return the index of the header row if titles or comments precede it, or 0 if the first row may be the header.

    `requested` lists the columns that the request names, of which one may be a list of columns. A row with all of them
    is the header if every earlier row has fewer non-blank cells or begins with #.

    Otherwise, the header is the first row with several names, at least one of which is a usual name of an input column.
    A name may be repeated if there is also a usual name of a target column. Here too, every earlier row must have fewer
    non-blank cells or begin with #, and the first row must not contain a usual name.
    """
    filled = [[cell.strip(' "') for cell in row if cell.strip(' "')] for row in rows]
    if requested:
        index = next((number for number, row in enumerate(filled) if _names_all(row, requested)), 0)
        if index and _are_titles(filled[:index], len(filled[index])):
            return index
    plain = [[cell.lower() for cell in row] for row in filled]
    if not plain or not (INPUTS | TARGETS).isdisjoint(plain[0]):
        return 0
    for index, names in enumerate(plain):
        is_distinct = len(set(names)) == len(names) or not TARGETS.isdisjoint(names)
        if len(names) > 1 and not INPUTS.isdisjoint(names) and is_distinct:
            return index if _are_titles(plain[:index], len(names)) else 0
    return 0


def _are_titles(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether every row has fewer than `width` non-blank cells or begins with #."""
    return all(len(row) < width or row[0].startswith("#") for row in rows)


def _names_all(row: Sequence[str], requested: Sequence[str]) -> bool:
    """Whether the row contains every requested name, or all parts of a name that is a list."""
    cells = set(row)
    return all(name in cells or {part.strip() for part in name.split(",")} <= cells for name in requested)
