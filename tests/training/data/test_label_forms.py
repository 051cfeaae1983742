"""The forms in which label cells contain several labels."""

from __future__ import annotations

from typing import Any

import pytest

from app.training.data.cells import CellError, to_label
from app.training.data.label_forms import is_one_hot, looks_like_list, split_labels, to_label_list, to_labels

UNREADABLE = [
    '{"taxonomy": [["a","b"]]}',
    '{"choices": ["a", "b"], "x": 1}',
    "(a, b)",
    "(a|b)",
    "{a, b}",
    "frozenset({a, b})",
    '{"POS": 0.7, "NEG": 0.3}',
    "['a', None]",
    "['a', nan]",
    '[{"label": "a"}, {"label": "b"}]',
    '["a", ["b"]]',
]


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("['a', 'b']", ("a", "b")),
        ("('b', 'a')", ("a", "b")),
        ("[\"it's\", 'b\\'s']", ("b's", "it's")),
        ("['a' 'b'\n 'c']", ("a", "b", "c")),  # a NumPy array
        ("['only']", ("only",)),
        ("['a', ]", ("a",)),
        ("[]", ()),
        ("[1, 2.0]", ("1", "2")),
        ('{"choices": ["a", "b"]}', ("a", "b")),
        ('{"choices": "a"}', ("a",)),
        ("{'choices': ['a', 'b']}", ("a", "b")),
        ("{'b', 'a'}", ("a", "b")),
        ('{"labels": []}', ()),
        ('{"Accept": ["x"]}', ("x",)),
        ('{"topics": ["a", "b"]}', ("a", "b")),
        ("frozenset({'a', 'b'})", ("a", "b")),
        ("array(['a', 'b'], dtype=object)", ("a", "b")),
        ("np.array(['a'], dtype='<U5')", ("a",)),
        ("\"['a', 'b']\"", ("a", "b")),
        ('"[\\"a\\"]"', ("a",)),
        ("set()", ()),
        ("frozenset()", ()),
        ("{}", ()),
        ("{1, 2}", ("1", "2")),
        ('[{"choices": ["a", "b"]}]', ("a", "b")),
        ('{"POS": 1, "NEG": 0, "X": null}', ("POS",)),
        ("{'POS': True, 'NEG': True}", ("NEG", "POS")),
        ('{"POS": 0.0, "NEG": 0.0}', ()),
        ("a|b", ("a", "b")),
        ("a|b (c|d)", ("a", "b (c|d)")),
        ("a", ("a",)),
        ("", ()),
    ],
)
def test_lists_of_labels_are_read_from_texts(cell: str, labels: tuple[str, ...]) -> None:
    assert to_labels(cell)[0] == labels
    listed = bool(cell) and cell != "a"
    assert to_labels(cell)[1] == listed
    if listed and "|" not in cell:
        assert tuple(sorted(map(to_label, to_label_list(cell) or ()))) == labels


@pytest.mark.parametrize(
    "cell", ["[a]", "(a)", "['a' + 'b']", "[a, 'b']", "['a'", "{a}", "['a']b", "{'x': 1}", "{1.5}"]
)
def test_other_texts_are_no_lists(cell: str) -> None:
    assert to_label_list(cell) is None


@pytest.mark.parametrize("cell", UNREADABLE)
def test_what_looks_like_a_list_and_cannot_be_read_is_a_fault(cell: str) -> None:
    assert looks_like_list(cell)
    with pytest.raises(CellError, match=r"JSON list"):
        to_labels(cell)


@pytest.mark.parametrize("value", [[["a", "b"]], [{"label": "a"}, {"label": "b"}], ["a", ["b"]]])
def test_nested_lists_are_told_which_forms_are_accepted(value: list[Any]) -> None:
    with pytest.raises(CellError, match=r"the list of labels contains an? \w+; write several labels as a JSON list"):
        to_labels(value)


@pytest.mark.parametrize(
    "cell",
    [
        "(other)", "[other]", "(a), (b)", "(a) first, (b) second", "a, b", '"a, b"', "f(x, y)", "(don't know)",
        "(other: unknown)", "set(up), config", "{x}",
    ],
)  # fmt: skip
def test_labels_with_brackets_or_quotes_do_not_look_like_lists(cell: str) -> None:
    assert not looks_like_list(cell)


@pytest.mark.parametrize(
    "value", [{"POS": 1}, {"POS": 0.5, "NEG": 0.5}, {"a": 2, "b": 0}, {"a": None, "b": None}, {"a": "", "b": "1"}, {}]
)
def test_other_objects_are_not_one_hot(value: dict[str, Any]) -> None:
    assert not is_one_hot(value)


def test_a_cell_is_split_only_outside_of_brackets_and_quotes() -> None:
    assert split_labels("Arts (crafts, toys), Books", ",") == ["Arts (crafts, toys)", "Books"]
    assert split_labels('a, "b, c"', ",") == ["a", '"b, c"']
    assert split_labels("'a, b', c", ",") == ["'a, b'", "c"]
    assert split_labels("don't, can't", ",") == ["don't", "can't"]
    assert split_labels("'tis, other", ",") == ["'tis, other"]
    assert split_labels(":(, sad", ",") == [":(, sad"]


def test_marked_passages_are_not_taken_for_labels() -> None:
    with pytest.raises(CellError, match=r"the list contains labels of passages, such as \[0, 5, 'ORG'\], not labels"):
        to_labels([[0, 5, "ORG"]])


def test_blanks_in_a_list_that_is_not_closed_cost_time_in_proportion() -> None:
    """With backtracking, a million blanks would take hours."""
    assert looks_like_list("['a'" + " " * 1_000_000 + "x")
    assert to_label_list("['a'" + " " * 1_000_000 + "x") is None
