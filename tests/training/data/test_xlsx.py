"""The first sheet of an Excel workbook gives the same rows and labels as the same table in CSV."""

from __future__ import annotations

import gzip
import io
import zipfile
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from app.training.data import xlsx
from app.training.data.detection import detect
from app.training.data.files import EVERYTHING
from app.training.failures import BadData
from tests.training.data.tables import assert_fault, detected, read, remarks_of, write
from tests.training.data.tables import xlsx as workbook

HEADER = ("text", "label")


def changed(content: bytes, member: str, old: str, new: str) -> bytes:
    """Copy a workbook, but replace `old` with `new` in the file `member`, or add `new` as this file."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in archive.namelist():
            text = archive.read(name)
            if name == member:
                assert old.encode() in text
                text = text.replace(old.encode(), new.encode())
            copy.writestr(name, text)
        if member not in archive.namelist():
            copy.writestr(member, new)
    return out.getvalue()


def cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


SHEET, STRINGS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"
NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
STRINGS_PART = (
    '<Override PartName="/{name}"'
    ' ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml" />'
)


def labels(path: Path) -> list[str]:
    return [example.labels[0] for example in read(path, "classification")[1]]


@pytest.mark.parametrize(
    ("cells", "written"),
    [
        ((1, 2.0, 1.0), ("1", "2", "1.0")),
        ((True, False, True), ("true", "false", "true")),
        ((0.5, 1.25, -2.0), ("0.5", "1.25", "-2")),
        ((date(2024, 5, 1), datetime(2024, 5, 1), date(2024, 5, 2)), ("2024-05-01", "2024-05-01", "2024-05-02")),
        ((datetime(2024, 5, 1, 9, 30), time(9, 30), "x"), ("2024-05-01 09:30:00", "09:30:00", "x")),
        ((" spam ", "ham", "né"), (" spam ", "ham", "né")),
    ],
)  # fmt: skip
def test_labels_are_those_of_the_csv_file(cells: tuple[Any, ...], written: tuple[str, ...], tmp_path: Path) -> None:
    rows = [HEADER, *((f"text {index}", cell) for index, cell in enumerate(cells))]
    delimited = "".join(f"text {index},{cell}\n" for index, cell in enumerate(written))
    in_csv = [label.removesuffix(".0") for label in labels(write(tmp_path, "a.csv", "text,label\n" + delimited))]
    assert labels(write(tmp_path, "a.xlsx", workbook(rows))) == in_csv


def test_numbers_are_texts_without_a_fraction(tmp_path: Path) -> None:
    path = write(tmp_path, "a.xlsx", workbook([HEADER, (2024.0, "a"), (0.5, "b"), (True, "a")]))
    assert [example.text for example in read(path)[1]] == ["2024", "0.5", "true"]


def test_dates_are_written_as_dates(tmp_path: Path) -> None:
    path = write(tmp_path, "a.xlsx", workbook([("text", "when"), ("a", date(2024, 5, 1))]))
    assert [str(record.values["when"]) for record in xlsx.records(detected(path), xlsx.Selection())] == ["2024-05-01"]


def test_rows_without_a_value_are_skipped_and_titles_of_rows_are_those_of_the_sheet(tmp_path: Path) -> None:
    rows = [(), HEADER, ("a", "x"), (None, " "), (), ("b", "y", None)]
    path = write(tmp_path, "a.xlsx", workbook(rows))
    source = detected(path)
    assert xlsx.header(source) == ["text", "label"]
    records = list(xlsx.records(source, xlsx.Selection()))
    assert [(record.where, record.values) for record in records] == [
        ("row 3", {"text": "a", "label": "x"}),
        ("row 6", {"text": "b", "label": "y"}),
    ]


def test_the_results_of_formulas_are_read(tmp_path: Path) -> None:
    content = workbook([HEADER, ("a", "x"), ("b", "y"), ("c", 3)])
    content = changed(content, SHEET, cell("B2", "x"), '<c r="B2" t="str"><f>UPPER("x")</f><v>X</v></c>')
    content = changed(content, SHEET, '<c r="B4" t="n"><v>3</v></c>', '<c r="B4"><f>1+2</f><v>3.0</v></c>')
    assert labels(write(tmp_path, "a.xlsx", content)) == ["X", "y", "3"]


def test_shared_strings_are_read(tmp_path: Path) -> None:
    """Excel stores each distinct string once, but openpyxl writes every string to its cell."""
    content = changed(
        workbook([HEADER, ("a", "x"), ("b", "y")]), SHEET, cell("B2", "x"), '<c r="B2" t="s"><v>1</v></c>'
    )
    content = changed(content, STRINGS, "", f'<sst xmlns="{NAMESPACE}"><si><t>no</t></si><si><t>shared</t></si></sst>')
    part = STRINGS_PART.format(name=STRINGS)
    content = changed(content, "[Content_Types].xml", "</Types>", f"{part}</Types>")
    assert labels(write(tmp_path, "a.xlsx", content)) == ["shared", "y"]


def test_other_sheets_are_told_and_a_hidden_one_is_not_the_first(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "notes"
    book.active.sheet_state = "hidden"
    for title, label in (("data", "x"), ("more", "y")):
        sheet = book.create_sheet(title)
        for row in (HEADER, ("a", label)):
            sheet.append(row)
    path = tmp_path / "a.xlsx"
    book.save(path)
    source = detected(path)
    assert [record.values["label"] for record in xlsx.records(source, xlsx.Selection())] == ["x"]
    expected = "a.xlsx has 3 sheets; only the sheet 'data' is read, not 'notes', 'more'; to read another sheet, move it"
    assert remarks_of(source)["sheets"] == f"{expected} to the front of the workbook"


def test_values_in_columns_without_a_name_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, "a.xlsx", workbook([("text", None, "label"), ("a", 1, "x"), ("b", None, "y", "z")]))
    source = detected(path)
    assert [record.values for record in xlsx.records(source, xlsx.Selection())] == [
        {"text": "a", "label": "x"},
        {"text": "b", "label": "y"},
    ]
    assert "2 rows have values in columns without a name" in remarks_of(source)["unnamed_columns"]


def test_repeated_columns_are_refused_unless_they_are_not_needed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.xlsx", workbook([("text", "label", "text"), ("a", "x", "b")]))
    assert_fault(path, "the column 'text' appears 2 times")
    assert list(xlsx.records(detected(path), xlsx.Selection(ignored=frozenset({"text"}))))


def test_an_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"is a binary file \(xlsx\), which has no text encoding"):
        detect(write(tmp_path, "a.xlsx", workbook()), "a.xlsx", encoding="cp1252")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"only words\n", "is declared or named as xlsx, but is not an Excel workbook"),
        ("a.xlsx", workbook()[:-100], "is a damaged zip archive"),
        ("a.xlsx", workbook([(None,)]), "the sheet is empty"),
        ("a.xlsx", changed(workbook(), SHEET, "</row>", "</raw>"), "is not a readable Excel workbook: "),
        ("a.xlsx", changed(workbook(), SHEET, 'r="4"', 'r="99999999999"'), "has more cells than"),
        ("a.xlsx", changed(workbook(), SHEET, 'r="C2"', 'r="ZZZ2"'), "row 2: has more cells than"),
        ("a.xlsx", changed(workbook(), "xl/workbook.xml", "<sheets>", "<x>"), "is not a readable Excel workbook: "),
    ],
)
def test_what_cannot_be_read_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    assert_fault(write(tmp_path, name, content), message)


@pytest.mark.parametrize(
    ("member", "limit"),
    [(STRINGS, "MOST_STRINGS"), (SHEET, "MOST_SHEET"), ("xl/styles.xml", "MOST_OTHER")],
)
@pytest.mark.parametrize("is_gzip", [False, True])
def test_a_bomb_is_refused_before_it_unpacks(
    member: str, limit: str, is_gzip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workbook has a few kilobytes, but a part of it unpacks to a hundred times that size."""
    monkeypatch.setattr(xlsx, limit, 1 << 20)
    bomb = changed(workbook(), member, "</", " " * (1 << 20) + "</")
    assert len(bomb) < 1 << 17
    content = gzip.compress(bomb) if is_gzip else bomb
    path = write(tmp_path, "a.xlsx.gz" if is_gzip else "a.xlsx", content)
    assert_fault(path, f"{member!r}, which has more than 1 MiB")


def test_entities_do_not_expand(tmp_path: Path) -> None:
    """Nested entities ("billion laughs") cause an error instead of filling the memory."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    doctype = f'<!DOCTYPE x [<!ENTITY e0 "{"ha" * 50}">{entities}]>'
    content = changed(workbook(), SHEET, "<worksheet", doctype + "<worksheet")
    content = changed(content, SHEET, "<t>bad</t>", "<t>&e11;</t>")
    assert_fault(write(tmp_path, "a.xlsx", content), "is not a readable Excel workbook: ")


def test_a_header_that_is_repeated_is_left_out_and_told(tmp_path: Path) -> None:
    rows = [["text", "label"], ["x", "a"], ["text", "label"], ["y", "b"]]
    source = detected(write(tmp_path, "a.xlsx", workbook(rows)))
    assert [record.values["text"] for record in xlsx.records(source, EVERYTHING)] == ["x", "y"]
    assert remarks_of(source)["repeated_header"] == (
        "a.xlsx, row 3: 1 row repeats the header, as in files that were joined, and is left out"
    )
