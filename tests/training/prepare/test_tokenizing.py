"""The tokenizer of a new network is chosen by the script of the texts."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from app.wire.trainer import Done, Note
from tests.training import runs

SMALL = {"width": 16, "layers": 1, "max_steps": 1, "batch_size": 16}
TEXTS = {
    "zh": [
        "今天的天气非常好",
        "这个产品的质量太差了",
        "服务人员的态度让人很满意",
        "电影的故事没有什么意思",
    ],
    "ja": [
        "今日の天気は良いです",
        "この商品の品質は悪いです",
        "店員の態度に満足しました",
        "映画の話は面白くない",
    ],
    "th": ["วันนี้อากาศดีมาก", "สินค้าคุณภาพแย่มาก", "พนักงานบริการดีมาก", "หนังเรื่องนี้ไม่สนุก"],
    "ko": ["오늘 날씨가 아주 좋다", "이 제품의 품질이 나쁘다", "직원의 태도에 만족한다", "영화의 이야기가 지루하다"],
    "ru": ["Сегодня хорошая погода", "Качество товара плохое", "Я доволен персоналом", "Фильм неинтересный"],
    "en": ["the weather is fine", "the quality is poor", "the staff is friendly", "the film is a bore"],
}


def prepare(folder: Path, name: str, content: str, **training: Any) -> tuple[str, dict[str, str]]:
    """Train, and return the kind of the tokenizer and the messages of the notes, by kind."""
    events = runs.train(runs.make(folder, name, content, "gru", training=SMALL | training))
    assert isinstance(events[-1], Done), events[-1]
    facts = json.loads((folder / "prepared" / "facts.json").read_text())["facts"]
    return facts["tokenizer"], {event.kind: event.message for event in events if isinstance(event, Note)}


def table(*languages: str) -> str:
    texts = [text for language in languages for text in TEXTS[language]]
    rows = [{"text": f"{text}{n}", "label": "ab"[n % 2]} for n, text in enumerate(texts * 6)]
    return "\n".join(map(json.dumps, rows))


@pytest.mark.parametrize(
    ("languages", "kind"),
    [
        (("zh",), "char"), (("ja",), "char"), (("th",), "char"), (("zh", "en"), "char"),
        (("ko",), "bpe"), (("ru",), "bpe"), (("en",), "bpe"), (("zh", "ru", "en", "en", "en"), "bpe"),
    ],
)  # fmt: skip
def test_texts_without_spaces_are_read_by_characters(languages: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    tokenizer, notes = prepare(tmp_path, "a.jsonl", table(*languages))
    assert tokenizer == kind and ("tokenizer" in notes) == (kind == "char")
    if kind == "char":
        assert "so each token is a character" in notes["tokenizer"]


def test_a_named_tokenizer_is_used(tmp_path: Path) -> None:
    assert prepare(tmp_path, "a.jsonl", table("zh"), tokenizer="bpe")[0] == "bpe"


def test_plain_text_is_judged_as_well(tmp_path: Path) -> None:
    tokenizer, notes = prepare(tmp_path / "a", "a.txt", "。".join(TEXTS["zh"] * 20), context_length=16)
    assert tokenizer == "char" and "tokenizer" in notes
    tokenizer, notes = prepare(tmp_path / "b", "b.txt", ". ".join(TEXTS["en"] * 20), context_length=16)
    assert tokenizer == "bpe" and "tokenizer" not in notes


def test_held_out_rows_have_no_say(tmp_path: Path) -> None:
    rows = [{"text": f"{TEXTS['en'][n % 4]} {n}", "label": "ab"[n % 2], "split": "train"} for n in range(8)]
    rows += [{"text": f"{TEXTS['zh'][n % 4]}{n}", "label": "ab"[n % 2], "split": "test"} for n in range(80)]
    rows += [{"text": f"held {n}", "label": "ab"[n % 2], "split": "val"} for n in range(4)]
    assert prepare(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))[0] == "bpe"


# language -> the first and the last filler character, and the words of the two labels
WORDS = {
    "zh": (0x4E00, 0x4E00 + 299, ["满意 很好 喜欢 推荐", "失望 很差 讨厌 退货"]),
    "ja": (ord("あ"), ord("ん"), ["満足 最高 素敵 推薦", "失望 最悪 退屈 返品"]),
    "th": (ord("ก"), ord("ฮ"), ["ดีมาก ชอบ สุขใจ แนะนำ", "แย่มาก เกลียด เสียใจ ส่งคืน"]),
}


@pytest.mark.parametrize("language", WORDS)
def test_a_classifier_of_texts_without_spaces_learns_by_default(language: str, tmp_path: Path) -> None:
    """Each text consists of filler characters and one of eight words, which determines the label."""
    draw = random.Random(1)
    first, last, words = WORDS[language]
    rows = []
    for n in range(200):
        other = "".join(chr(draw.randint(first, last)) for _ in range(draw.randint(10, 25)))
        word, at = draw.choice(words[n % 2].split()), draw.randrange(len(other))
        rows.append({"text": other[:at] + word + other[at:], "label": "ab"[n % 2]})
    content = "\n".join(map(json.dumps, rows))
    [*_, done] = runs.train(runs.make(tmp_path, "a.jsonl", content, "gru", validation_split=0.3))
    assert isinstance(done, Done) and done.metrics["validation"]["accuracy"] >= 0.97
