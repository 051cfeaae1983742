"""The delimiter, the quoting and spaces next to quotes are inferred from the rows. Each decision is reported."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.training.data.detection import detect
from app.training.data.example import Example
from app.training.data.files import EVERYTHING
from app.training.data.formats import READERS
from app.training.failures import BadData
from tests.training.data.tables import read, remarks_of, write

Rows = list[tuple[str, str]]


def rows_of(examples: list[Example]) -> Rows:
    return [(example.text, example.labels[0]) for example in examples]


def read_rows(path: Path) -> tuple[Rows, dict[str, str]]:
    """The (text, label) pairs of the rows, and the remarks by kind."""
    layout, examples = read(path)
    return rows_of(examples), remarks_of(layout.source)


@pytest.mark.parametrize(
    ("name", "content", "delimiter"),
    [
        ("a.csv", "text;label\nx, y;1\nz;2\n", "a semicolon"),
        ("a.csv", "sep=;\ntext;label\nx, y;1\nz;2\n", "sep=;"),
        ("a.csv", '"sep=|"\r\ntext|label\r\nx, y|1\r\nz|2\r\n', "sep=|"),
        ("a.csv", "sep=\\t\ntext\tlabel\nx, y\t1\nz\t2\n", "sep=\\t"),
        ("a.csv", "text|label\nx, y|1\nz|2\n", "a vertical bar"),
        ("a.csv", "text\tlabel\nx, y\t1\nz\t2\n", "a tab"),
        ("a.csv", "text;label;note (a, b, c, d)\nx, y;1;\nz;2;\n", "a semicolon"),
        ("a.tsv", 'text,label\n"x, y",1\nz,2\n', "a comma"),
        ("a", "text;label\nx, y;1\nz;2\n", "a semicolon"),
    ],
)
def test_the_delimiter_is_told_if_it_is_not_the_usual_one(
    name: str, content: str, delimiter: str, tmp_path: Path
) -> None:
    rows, remarks = read_rows(write(tmp_path, name, content))
    assert rows == [("x, y", "1"), ("z", "2")]
    assert delimiter in remarks["delimiter"]


def test_a_usual_table_has_no_remarks(tmp_path: Path) -> None:
    content = 'text,label\n"She said ""yes"", twice",a\n"two\nlines",b\n27"" of it,a\n\'x\',b\n'
    rows, remarks = read_rows(write(tmp_path, "a.csv", content))
    assert rows == [('She said "yes", twice', "a"), ("two\nlines", "b"), ('27"" of it', "a"), ("'x'", "b")]
    assert remarks == {}
    content = content.replace(",a", "\ta").replace(",b", "\tb").replace("text,", "text\t")
    assert read_rows(write(tmp_path, "a.tsv", content)) == (rows, {})


@pytest.mark.parametrize(
    ("name", "delimiter", "remark"), [("a.tsv", "\t", "tab-separated without"), ("a.csv", "|", "bar-separated without")]
)
@pytest.mark.parametrize(
    "texts",
    [
        ['"Where is it', "a", "b", 'of 27"'],  # the usual rules would join these rows
        ['"Where is it', "a", "b", "c"],  # never closed
        ['"Yes" he said', "a", "b", "c"],  # text after the closing quote
        ["a", '"x', 'b" c "d', 'y"', "e"],
    ],
)
def test_quotes_are_plain_characters_where_they_enclose_no_cells(
    name: str, delimiter: str, remark: str, texts: list[str], tmp_path: Path
) -> None:
    content = f"text{delimiter}label\n" + "".join(f"{text}{delimiter}y\n" for text in texts)
    rows, remarks = read_rows(write(tmp_path, name, content))
    assert rows == [(text, "y") for text in texts]
    assert remark in remarks["quoting"]


CELL = st.text(st.sampled_from("ab \",;'\n"), max_size=6)


@example(rows=[(" ", ' "')], name="a.csv", quoting=csv.QUOTE_MINIMAL, delimiter=",")
@given(
    rows=st.lists(st.tuples(CELL, CELL), max_size=6),
    name=st.sampled_from(["a.csv", "a.tsv"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    delimiter=st.sampled_from(",;|\t"),
)
def test_what_a_writer_has_quoted_is_read_by_the_usual_rules(
    rows: list[tuple[str, str]], name: str, quoting: Literal[0, 1, 2], delimiter: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting)
    writer.writerows([("text", "label"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), name, out.getvalue())
        records = READERS["csv"].records(detect(path, name), EVERYTHING)
        assert [tuple(record.values.values()) for record in records] == rows


def test_a_row_of_another_width_does_not_change_the_quoting(tmp_path: Path) -> None:
    content = "text\tlabel\n" + "".join(f"x{n}\ty\n" for n in range(40)) + '"open\ty\nx\ty\tz\n'
    with pytest.raises(BadData, match="line 43, column 3: the row has 3 cells, but the header has 2"):
        read(write(tmp_path, "a.tsv", content))


@pytest.mark.parametrize(
    "cells",
    [
        [("two\nlines", "y"), ("x", "y")],
        [("a\tb\nc\td", "y"), ("x", "y")],
        [("x", "for a:\n\tif b:\n\t\tc()"), ("z", "y")],
        [("x", "for a:\n\tb()\n\tc()\n\td()"), ("z", "y")],
    ],
)
def test_quoted_cells_over_several_lines_stay_whole(cells: Rows, tmp_path: Path) -> None:
    content = "label\ttext\n" + "".join(f'{a}\t"{b}"\n' if "\n" in b else f'"{a}"\t{b}\n' for a, b in cells)
    rows, _ = read_rows(write(tmp_path, "a.tsv", content))
    assert rows == [(text, label.strip()) for label, text in cells]


@pytest.mark.parametrize(
    "content",
    [
        'text, label\n"x, y", "good"\n"z", "bad"\n',
        '"text" , "label"\n"x, y" , "good" \n"z" , "bad"\n',
        'text;label\n"x, y"; "good"\n"z";  "bad"\n',
    ],
)
def test_blanks_beside_quotes_are_left_out(content: str, tmp_path: Path) -> None:
    rows, remarks = read_rows(write(tmp_path, "a.csv", content))
    assert rows == [("x, y", "good"), ("z", "bad")]
    assert "spaces around quoted cells" in remarks["quoting"] and "before other cells" in remarks["quoting"]


def test_a_quote_after_a_blank_stays_where_it_encloses_no_cell(tmp_path: Path) -> None:
    rows, remarks = read_rows(write(tmp_path, "a.csv", 'label,text\na, "Wow" she said\nb, x\n'))
    assert rows == [(' "Wow" she said', "a"), (" x", "b")]
    assert "line 2" in remarks["quoting"] and "remove the space" in remarks["quoting"]


@pytest.mark.parametrize("text", [r"He said \"hi\", twice", r"C:\new, \"x\"", r"\""])
def test_quotes_escaped_by_backslashes_are_read_as_quotes(text: str, tmp_path: Path) -> None:
    rows, remarks = read_rows(write(tmp_path, "a.csv", f'text,label\n"{text}",y\nx,z\n'))
    assert rows == [(text.replace('\\"', '"'), "y"), ("x", "z")]
    assert "written as" in remarks["quoting"]


def test_joined_lines_of_commas_are_only_warned_about(tmp_path: Path) -> None:
    """The table is ambiguous, because each line of a poem could contain a comma, too."""
    content = 'text,label\nz,y\n"Where is it,a\nx,b\nw,b\nof 27"",b\n'.replace('""', '"')
    rows, remarks = read_rows(write(tmp_path, "a.csv", content))
    assert len(rows) == 2
    assert remarks["joined_lines"].startswith("a.csv, line 3: a quoted cell spans several lines")


def test_an_unclosed_quote_in_commas_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="line 3, column 'text': malformed CSV: this opening quote"):
        read(write(tmp_path, "a.csv", 'text,label\nx,y\n"open,y\nx,y\n'))


def test_two_joined_rows_beside_texts_of_several_lines_are_told(tmp_path: Path) -> None:
    """Most quotes enclose texts of several lines, so quotes are not plain characters. But two single quotes join two
    rows."""
    texts = "".join(f'"first line\nsecond line {number}"\tgood\n' for number in range(10))
    lone = '"so he said\tbad\nand left"\tgood\n'
    path = write(tmp_path, "a.tsv", f"text\tlabel\n{texts}{lone}")
    layout, examples = read(path)
    assert len(examples) == 11
    [remark] = [remark for remark in layout.source.remarks if remark.kind == "joined_lines"]
    assert (remark.level, remark.count, remark.where) == ("warn", 1, "line 22")
    plain = write(tmp_path, "b.tsv", f"text\tlabel\n{texts}")
    assert not [remark for remark in read(plain)[0].source.remarks if remark.kind == "joined_lines"]


def _joined_in(tmp_path: Path, content: str) -> list[tuple[str, int]]:
    layout, _ = read(write(tmp_path, "a.csv", content))
    return [(remark.where, remark.count) for remark in layout.source.remarks if remark.kind == "joined_lines"]


PLAIN = "".join(f"row {number} is {label},{label}\n" for number in range(4) for label in ("good", "bad"))
TURNED = "".join(f"{label},row {number} is {label}\n" for number in range(4) for label in ("good", "bad"))
VALUES = "".join(f"row number {number},{number}.5\n" for number in range(8))
WIDE = "".join(f"{number},row number {number},good,x{number}\n" for number in range(8))


@pytest.mark.parametrize(
    "content",
    [
        f'text,label\n{PLAIN}"so he said,bad\nand left",good\n',
        f'label,text\n{TURNED}bad,"so he said\ngood,and left"\n',
        f'text,value\n{VALUES}"so he said,2.5\nand left",3.5\n',
        f'id,text,label,note\n{WIDE}8,"so he said,good,y\n9,and left",good,z\n',
        f'text,label\n{PLAIN}"so he said, Bad \nand left",good\n',
    ],
)
def test_two_joined_rows_of_commas_are_told_if_their_cells_are_values_of_the_columns(
    content: str, tmp_path: Path
) -> None:
    assert _joined_in(tmp_path, content) == [("line 10", 1)]
    again = content.replace("so he", "as she").split("\n", 9)[-1]
    assert _joined_in(tmp_path, content + again) == [("line 10", 2)]


@pytest.mark.parametrize(
    "content",
    [
        f'text,label\n{PLAIN}"Dear all, this\nis it, thanks",good\n'.replace(", thanks", " thanks"),
        f'label,text\n{TURNED}bad,"so he said\nhowever, he left"\n',
        f'text,value\n{VALUES}"Dear all, this\nis it",3.5\n',
        "text,label\n" + "".join(f'"row, {number}","good"\n' for number in range(8)) + '"Hi, there\nbye","good"\n',
    ],
)
def test_texts_of_two_lines_with_commas_are_not_taken_for_rows(content: str, tmp_path: Path) -> None:
    assert _joined_in(tmp_path, content) == []


def test_two_joined_rows_are_told_if_no_column_has_labels_or_numbers(tmp_path: Path) -> None:
    rows = "".join(f"question {number},answer {number}\n" for number in range(8))
    content = f'prompt,completion\n{rows}"so he said,and then\nhe left",again\n'
    assert _joined_in(tmp_path, content) == [("line 10", 1)]


def _swallowed(first: str, last: str, inner: int = 10, odd: str = "") -> str:
    """A table with three columns. A quote in the row `first` and one in the row `last` join all rows between them."""
    rows = [f"{number},row {number} is here,{'ab'[number % 2]}" for number in range(40)]
    rows[5], rows[5 + inner] = first, last
    rows[7] = odd or rows[7]
    return "\n".join(["id,text,label", *rows, ""])


@pytest.mark.parametrize(
    "content",
    [
        _swallowed('5,"great, he said,a', '15,it is 15",b'),
        _swallowed('5,"great he said,a', '15,well, it is 15",b'),
        _swallowed('5,"great, he said,a', '15,well, it is 15",b', odd="7,one, two, three,b"),
        _swallowed('5,"great, he said,a', '7,well, it is 15",b', inner=2).replace(",", ";"),
        _swallowed('5,"great', '15,it is",b', odd=""),
        _swallowed('5,"great', '35,it is",b', inner=30, odd="an odd line"),
        f'text,label\n{PLAIN}"so, he said,bad\nx, y,good\nz,bad\nwell, he left",good\n',
        f'label,text\n{TURNED}bad,"so, he said\ngood,x, y\ngood,and, left"\n',
    ],
)
def test_joined_rows_are_told_even_if_some_lines_have_more_commas(content: str, tmp_path: Path) -> None:
    assert len(_joined_in(tmp_path, content)) == 1


@pytest.mark.parametrize(
    "content",
    [
        f'text,label\n{PLAIN}"Roses, red\nviolets, blue\nsugar, sweet\nand, so, are you",good\n',
        f'text,label\n{PLAIN}"Dear all,\nthank you,\nregards,\nAnn,",good\n',
        f'label,text\n{TURNED}bad,"so, he said\nwell, x, y\nhm, z\ngood, and left"\n',
        f'text,value\n{VALUES}"Dear, all\nthis, is\nit, now\nit, 5",3.5\n',
        f'id,text,label,note\n{WIDE}8,"1, 2, 3, 4\n5, 6, 7, 8\n9, 10, 11, 12",good,z\n',
    ],
)
def test_texts_of_several_lines_with_commas_are_not_taken_for_rows(content: str, tmp_path: Path) -> None:
    assert _joined_in(tmp_path, content) == []


WRAPPED = {
    "plain": ("text,label", "row {n},{label}"),
    "quoted": ('id,"text",label', '{n},"row {n}, with ""this""",{label}'),
    "semicolons": ("text;label", "row {n};{label}"),
    "tabs": ("text\tlabel", "row {n}\t{label}"),
}


def wrapped(line: str) -> str:
    return '"' + line.replace('"', '""') + '"'


@pytest.mark.parametrize(
    ("is_header_wrapped", "end"), [(True, "\n"), (True, ";;\n"), (True, "\r\n"), (False, "\n"), (False, "\r\n")]
)
@pytest.mark.parametrize("form", WRAPPED)
def test_lines_that_are_quoted_as_a_whole_are_unwrapped(
    form: str, is_header_wrapped: bool, end: str, tmp_path: Path
) -> None:
    header, row = WRAPPED[form]
    rows = [row.format(n=n, label="ab"[n % 2]) for n in range(20)]
    lines = [wrapped(header) if is_header_wrapped else header, *map(wrapped, rows)]
    layout, examples = read(write(tmp_path, "a.csv", end.join([*lines, ""])))
    expected = 'row {n}, with "this"' if form == "quoted" else "row {n}"
    assert [example.text for example in examples] == [expected.format(n=n) for n in range(20)]
    assert examples[1].labels == ("b",) and "these quotes are removed" in remarks_of(layout.source)["wrapped_lines"]


def test_a_single_column_of_quoted_texts_is_not_unwrapped(tmp_path: Path) -> None:
    layout, examples = read(write(tmp_path, "a.csv", '"text"\n' + '"one, two"\n' * 20))
    assert examples[0].text == "one, two" and "wrapped_lines" not in remarks_of(layout.source)
