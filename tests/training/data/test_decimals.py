"""Numbers with decimal commas or with thousands separators."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.training.data.files import Source
from app.training.data.rows import read_examples
from app.training.failures import BadData
from tests.training.data.tables import detected, read, remarks_of, write


@pytest.mark.parametrize(
    ("cell", "value"),
    [("3,5", 3.5), ("-0,25", -0.25), (",5", 0.5), ("1.234,5", 1234.5), ("1 234,5", 1234.5), ("2,5e3", 2500), ("7", 7)],
)
def test_a_decimal_comma_is_read_as_one(cell: str, value: float, tmp_path: Path) -> None:
    layout, examples = read(write(tmp_path, "a.csv", f"text;value\nx, 1,5;{cell}\ny;2,5\n"))
    assert [(example.text, example.value) for example in examples] == [("x, 1,5", value), ("y", 2.5)]
    remark = remarks_of(layout.source)["decimal_commas"]
    assert ("'2,5' is 2.5" if cell == "7" else f"{cell!r} is") in remark
    assert ("1 number is read" if cell == "7" else "2 numbers are read") in remark


def test_numbers_of_series_may_have_decimal_commas(tmp_path: Path) -> None:
    _, [example] = read(write(tmp_path, "a.csv", "series;a;b;label\ns;1,5;2;up\ns;2,5;3;up\n"))
    assert example.features_TF is not None and example.features_TF.tolist() == [[1.5, 2], [2.5, 3]]


def test_labels_and_texts_keep_their_commas(tmp_path: Path) -> None:
    layout, examples = read(write(tmp_path, "a.csv", "text;label\n1,5;2,5\n3;4\n"))
    assert (examples[0].text, examples[0].labels) == ("1,5", ("2,5",))
    assert "decimal_commas" not in remarks_of(layout.source)


def values(folder: Path, cells: list[str], name: str = "a.csv") -> tuple[list[float], dict[str, str]]:
    """Read a table with `cells` as values to predict. Returns the values, and the messages of the remarks by kind."""
    mark = ";" if ";" in name else ","
    rows = "".join(f'row {number}{mark}"{cell}"\n' for number, cell in enumerate(cells))
    layout, examples = read(write(folder, name.replace(";", ""), f"text{mark}value\n{rows}"))
    return [example.value for example in examples], remarks_of(layout.source)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1,422.54", "987", "1,200"], [1422.54, 987, 1200]),
        (["1.422,54", "987", "1.200"], [1422.54, 987, 1200]),
        (["1 422,54", "0,5", "1\u202f200"], [1422.54, 0.5, 1200]),
        (["1'422.50", "1’200", "\u22123"], [1422.5, 1200, -3]),
        (["12,34,567", "1,234,567", "2,500"], [1234567, 1234567, 2500]),
        (["3,5", "0,25", "1,422"], [3.5, 0.25, 1.422]),
        (["1.422", "2.5", "3.125"], [1.422, 2.5, 3.125]),
        (["7", "1.200", "1.422,54"], [7, 1200, 1422.54]),
        (["3,5", "3.5", "2"], [3.5, 3.5, 2]),
        ([*map(str, range(5)), "1,001", "2,002", "3,003", "4,004", "5,005"], [*range(5), 1001, 2002, 3003, 4004, 5005]),
    ],
)
def test_the_other_numbers_of_a_column_show_what_its_marks_mean(
    cells: list[str], expected: list[float], tmp_path: Path
) -> None:
    assert values(tmp_path, cells)[0] == expected


@pytest.mark.parametrize("name", ["a.csv", "a;.csv"])
@pytest.mark.parametrize(
    ("cells", "expected", "kind", "reason"),
    [
        (["1.200", "12,50", "7,25"], [1200, 12.5, 7.25], "grouped_points", "'1.200' is 1200, because there are"),
        (["1.200", "12,50", "7,25"], [1200, 12.5, 7.25], "grouped_points", "because there are numbers like '12,50'"),
        (["1,200", "12.50", "7.25"], [1200, 12.5, 7.25], "grouped_commas", "because there are numbers like '12.50'"),
        (["7", "0,5", "-2.500", "12.000"], [7, 0.5, -2500, 12000], "grouped_points", "2 numbers are read with"),
    ],
)  # fmt: skip
def test_separators_that_are_not_the_decimal_mark_of_the_other_numbers_are_told(
    cells: list[str], expected: list[float], kind: str, reason: str, name: str, tmp_path: Path
) -> None:
    numbers, remarks = values(tmp_path, cells, name)
    assert numbers == expected and reason in remarks[kind]


@pytest.mark.parametrize(
    ("cells", "name"),
    [
        (["1.200", "12,50", "7.25"], "a.csv"),
        (["1,200", "12,50", "7.25"], "a.csv"),
        (["1.200", "950", "12.500"], "a;.csv"),
    ],
)
def test_marks_of_which_the_other_numbers_show_no_or_both_meanings_are_asked_about(
    cells: list[str], name: str, tmp_path: Path
) -> None:
    with pytest.raises(BadData, match=r"line 2, column 'value': '1.200' may be .* write one number of the column as"):
        values(tmp_path, cells, name)


def test_the_other_columns_show_what_the_marks_mean(tmp_path: Path) -> None:
    table = "series,a,b,label\n" + "".join(f's{n},"{n},5","1.{200 + n}",x\n' for n in range(4))
    layout, examples = read(write(tmp_path, "a.csv", table))
    assert examples[1].features_TF is not None and examples[1].features_TF.tolist() == [[1.5, 1201]]
    remark = remarks_of(layout.source)["grouped_points"]
    assert "'1.200' is 1200, because there are numbers like '0,5'" in remark
    table = "series,a,b,label\n" + "".join(f's{n},{n}.5,"1,{200 + n}",x\n' for n in range(4))
    _, examples = read(write(tmp_path, "b.csv", table))
    assert examples[1].features_TF is not None and examples[1].features_TF.tolist() == [[1.5, 1201]]
    mixed = "series,a,b,c,label\n" + "".join(f's{n},"{n},5",{n}.5,1.{200 + n},x\n' for n in range(4))
    _, examples = read(write(tmp_path, "c.csv", mixed))  # the other columns contradict each other
    assert examples[1].features_TF is not None and examples[1].features_TF.tolist() == [[1.5, 1.5, 1.201]]


def test_the_advice_about_points_works(tmp_path: Path) -> None:
    assert values(tmp_path, ["1.200", "950", "1.200,0"], "a;.csv")[0] == [1200, 950, 1200]
    assert values(tmp_path, ["1.200", "950", "1.2000"], "a;.csv")[0] == [1.2, 950, 1.2]


def test_decimal_points_between_semicolons_are_recognised(tmp_path: Path) -> None:
    assert values(tmp_path, ["12.500", "950", "0.123"], "a;.csv")[0] == [12.5, 950, 0.123]
    assert values(tmp_path, ["12.500", "9500", "1.200"], "a;.csv")[0] == [12.5, 9500, 1.2]


def test_a_comma_that_may_mean_both_is_asked_about_and_the_advice_works(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"line 2, column 'value': '1,422' may be 1422 or 1\.422; write one number"):
        values(tmp_path, ["1,422", "2,500"])
    assert values(tmp_path, ["1,422", "2,500", "1,422.0"])[0] == [1422, 2500, 1422]
    assert values(tmp_path, ["1,422", "2,500", "1,4220"])[0] == [1.422, 2.5, 1.422]
    numbers, remarks = values(
        tmp_path, ["1,422", "2,500"], "a;.csv"
    )  # semicolons separate cells where commas are decimal
    assert numbers == [1.422, 2.5] and "if it does, remove it" in remarks["guessed_commas"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.tsv"])
def test_other_formats_follow_the_same_rules(name: str, tmp_path: Path) -> None:
    numbers = ["1,422.54", "1,200"]
    lines = [json.dumps({"text": "a b", "value": number}) for number in numbers]
    lines = lines if name == "a.jsonl" else ["text\tvalue", *(f"a b\t{number}" for number in numbers)]
    layout, examples = read(write(tmp_path, name, "\n".join(lines)))
    assert [example.value for example in examples] == [1422.54, 1200]
    assert "'1,422.54' is 1422.54" in remarks_of(layout.source)["numbers_normalised"]


def test_a_step_with_an_unclear_number_leaves_its_series_out(tmp_path: Path) -> None:
    faults: list[BadData] = []
    layout, _ = read(write(tmp_path, "b.csv", "series,a,label\ns,1,up\n"))
    path = write(tmp_path, "a.csv", 'series,a,label\ns,"1,422",up\ns,1,up\nt,2,up\n')
    examples = list(read_examples(replace(layout, source=detected(path)), faults.append))
    assert [example.where for example in examples] == ["line 4"] and "may be 1422 or 1.422" in faults[0].message


@pytest.mark.parametrize(("number", "passes"), [("-0.125", 1), ("1e-3", 1), ("12.5", 1), ("12.500", 2), ("1 200", 2)])
def test_the_file_is_read_twice_only_if_other_numbers_matter(
    number: str, passes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, _ = read(write(tmp_path, "a.csv", f"text,value\nx,{number}\ny,2\n"))
    source = replace(layout.source, settled={"delimiters": layout.source.settled["delimiters"]})
    opened: list[Source] = []
    open_text = Source.open_text
    monkeypatch.setattr(Source, "open_text", lambda self: opened.append(self) or open_text(self))
    assert len(list(read_examples(replace(layout, source=source)))) == 2
    assert len(opened) == passes


def test_a_number_of_thousands_of_digits_is_one_unusable_row(tmp_path: Path) -> None:
    layout, _ = read(write(tmp_path, "b.csv", "text,value\nx,1\n"))
    path = write(tmp_path, "a.csv", f'text,value\nx,{"9" * 5000}\ny,"1,422.5"\nz,0007\n')
    faults: list[BadData] = []
    examples = list(read_examples(replace(layout, source=detected(path)), faults.append))
    assert [example.value for example in examples] == [1422.5, 7]
    assert [fault.where for fault in faults] == [("line 2", "column 'value'")]
