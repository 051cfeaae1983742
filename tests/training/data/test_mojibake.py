"""Texts that were decoded with a wrong encoding before they were saved are recognised and reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.data.checking import check_files
from app.training.data.mojibake import has_mojibake
from tests.training.data.tables import read, write

RIGHT = [
    "a café", "naïve", "“quoted” – and more…", "5 € or 4 £", "Привет, мир", "SÃO PAULO", "Ångström", "Ça va, là-bas",
    "日本語です。", "🙂", "français : « là »", "Ä Ö Ü ß", "ÂNCORA", "“IRMÓ”", "bokstaven ”Å”", "il a marché…”", "plain",
]  # fmt: skip


@pytest.mark.parametrize("text", RIGHT)
def test_right_characters_are_not_mojibake(text: str) -> None:
    assert not has_mojibake(text)


@pytest.mark.parametrize("text", [text for text in RIGHT if not text.isascii()])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_utf8_read_in_another_encoding_is_mojibake(text: str, encoding: str) -> None:
    wrong = text.encode().decode(encoding, "replace")
    assert "\ufffd" in wrong or has_mojibake(wrong)


def test_mojibake_is_told_with_the_number_of_rows(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(
        f"{'cafÃ©' if n < 3 else 'café'} number {n},{'a' if n % 2 else 'b'}\n" for n in range(30)
    )
    result = check_files(write(tmp_path, "a.csv", content))
    [remark] = [remark for remark in result.report["remarks"] if remark["kind"] == "mojibake"]
    assert (remark["level"], remark["where"], remark["count"]) == ("warn", "line 2", 3)
    assert "(rows: 3)" in remark["message"]
    _, examples = read(tmp_path / "a.csv")
    assert examples[0].text == "cafÃ© number 0"
