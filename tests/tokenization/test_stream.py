from __future__ import annotations

import sys

import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models

from app.tokenization.stream import WINDOW, Offsets, TextStream
from app.tokenization.tokenizer import Tokenizer
from app.tokenization.training import KINDS, train

TOKENIZERS = {kind: train(["abab aba baba é 日本 👩‍👧 text", "the text of a text"] * 4, kind, 400) for kind in KINDS}
kinds = pytest.mark.parametrize("kind", KINDS)
texts = st.text(st.sampled_from("abé日👩 \n<") | st.characters(exclude_categories=["Cs"]), max_size=40)


def chunks(ids: list[int], sizes: list[int]) -> list[list[int]]:
    """Divide ids into parts of the given sizes, and a last part with the remaining ids.

    A size of zero gives an empty push.
    """
    parts = []
    for size in sizes:
        parts.append(ids[:size])
        ids = ids[size:]
    return [*parts, ids]


def run(stream: TextStream, parts: list[list[int]]) -> tuple[str, str | None]:
    text, stop = "", None
    for part in parts:
        delta = stream.push(part)
        text, stop = text + delta.text, stop or delta.finished_by_stop
    return text + stream.flush(), stop


def reference(text: str, stops: tuple[str, ...], include: bool) -> tuple[str, str | None]:
    """The text, cut at the stop string that ends first. If several end there, the longest one counts."""
    ends = [(text.find(stop) + len(stop), -len(stop), stop) for stop in stops if stop in text]
    if not ends:
        return text, None
    end, _, stop = min(ends)
    return text[: end if include else end - len(stop)], stop


sizes = st.lists(st.integers(0, 4), max_size=30)


@kinds
@settings(max_examples=200)
@given(data=st.data(), sizes=sizes)
def test_any_ids_in_any_chunks(kind: str, data: st.DataObject, sizes: list[int]) -> None:
    """The ids include sequences that are not valid UTF-8, because a network may generate these."""
    tokenizer = TOKENIZERS[kind]
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=40))
    assert run(TextStream(tokenizer), chunks(ids, sizes)) == (tokenizer.decode(ids), None)


@kinds
@settings(max_examples=200)
@given(text=texts, sizes=sizes)
def test_only_whole_characters_are_released(kind: str, text: str, sizes: list[int]) -> None:
    tokenizer = TOKENIZERS[kind]
    stream, seen = TextStream(tokenizer), ""
    for part in chunks(tokenizer.encode(text), sizes):
        seen += stream.push(part).text
        assert text.startswith(seen)
    assert seen == text and stream.flush() == ""


@kinds
@settings(max_examples=300)
@given(
    text=texts,
    stops=st.lists(st.text(st.sampled_from("abé日 "), min_size=1, max_size=5), min_size=1, max_size=4),
    include=st.booleans(),
    sizes=sizes,
)
@example(text="aabaabaaabab", stops=["aabaaa", "b日"], include=False, sizes=[1] * 12)
@example(text="xaab", stops=["aab", "ab", "b"], include=False, sizes=[])
def test_stop_strings(kind: str, text: str, stops: list[str], include: bool, sizes: list[int]) -> None:
    tokenizer = TOKENIZERS[kind]
    stream = TextStream(tokenizer, tuple(stops), include)
    assert run(stream, chunks(tokenizer.encode(text), sizes)) == reference(text, tuple(stops), include)


def test_text_is_held_back_only_for_a_possible_stop_string() -> None:
    tokenizer = TOKENIZERS["byte"]
    stream = TextStream(tokenizer, ("END",))
    assert stream.push(tokenizer.encode("text E")).text == "text "
    assert stream.push(tokenizer.encode("NxE")).text == "ENx"
    delta = stream.push(tokenizer.encode("ND more"))
    assert (delta.text, delta.finished_by_stop) == ("", "END")
    assert stream.push(tokenizer.encode("more")).text == "" and stream.flush() == ""


def test_an_incomplete_character_at_the_end_is_replaced() -> None:
    tokenizer = TOKENIZERS["byte"]
    stream = TextStream(tokenizer)
    assert stream.push(tokenizer.encode("日")[:2]).text == ""
    assert stream.flush() == "\N{REPLACEMENT CHARACTER}"
    assert stream.flush() == ""


def test_a_stop_string_that_flush_completes() -> None:
    tokenizer = TOKENIZERS["byte"]
    stream = TextStream(tokenizer, ("x\N{REPLACEMENT CHARACTER}",))
    assert stream.push([*tokenizer.encode("ax"), *tokenizer.encode("日")[:1]]).text == "a"
    assert stream.flush() == ""


def _imported() -> list[Tokenizer]:
    pieces = ["[PAD]", "un", "##der", "##stand", "it", ",", "is", "##s"]
    word_piece = tokenizers.Tokenizer(models.WordPiece({w: i for i, w in enumerate(pieces)}, unk_token="[PAD]"))
    word_piece.decoder = decoders.WordPiece()
    word_piece.add_special_tokens(["[PAD]"])
    words = ["<s>", "▁a", "b", "▁", "<0xE6>", "<0x97>", "<0xA5>", "▁cd"]
    llama = tokenizers.Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [], byte_fallback=True))
    llama.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    llama.add_special_tokens(["<s>"])
    level = tokenizers.Tokenizer(models.WordLevel({w: i for i, w in enumerate("abcdefgh")}, unk_token="a"))
    return [Tokenizer(native.to_str()) for native in (word_piece, llama, level)]


@pytest.mark.parametrize("tokenizer", _imported(), ids=["wordpiece", "llama", "wordlevel"])
@settings(max_examples=200)
@given(ids=st.lists(st.sampled_from([0, 1, 2, 3, 7, (4, 5, 6)]), max_size=20), sizes=sizes)
def test_imported_tokenizers(tokenizer: Tokenizer, ids: list[int | tuple[int, ...]], sizes: list[int]) -> None:
    flat = [i for item in ids for i in (item if isinstance(item, tuple) else (item,))]
    assert run(TextStream(tokenizer), chunks(flat, sizes)) == (tokenizer.decode(flat), None)


@pytest.mark.parametrize(("silent", "shown"), [(0, ""), (4, "\N{REPLACEMENT CHARACTER}")], ids=["special", "byte"])
def test_tokens_without_text_do_not_pile_up(silent: int, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    llama, decode, decoded = _imported()[1], Tokenizer.decode, []
    monkeypatch.setattr(Tokenizer, "decode", lambda self, ids: decoded.append(len(ids)) or decode(self, ids))
    stream = TextStream(llama)
    text = "".join(stream.push([id_]).text for id_ in [2, *[silent] * 200, 7]) + stream.flush()
    assert text == f"b{shown * 200} cd"
    assert max(decoded) <= 2 * WINDOW


@pytest.mark.parametrize("stops", [(), ("a" * 5000 + "b",)])
def test_the_cost_of_a_push_does_not_depend_on_the_text_so_far(
    stops: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, join, joined = TOKENIZERS["byte"], Tokenizer.join, 0
    [one] = tokenizer.encode("a")

    def counted_join(self: Tokenizer, ids: list[int]) -> bytes:
        nonlocal joined
        joined += len(ids)
        return join(self, ids)

    def lines(tokens: int) -> int:
        """The number of Python lines that are executed for this number of tokens."""
        count, stream = 0, TextStream(tokenizer, stops)

        def trace(frame: object, event: str, argument: object) -> object:
            nonlocal count
            count += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            for _ in range(tokens):
                stream.push([one])
        finally:
            sys.settrace(before)
        return count

    monkeypatch.setattr(Tokenizer, "join", counted_join)
    assert lines(4_000) < 2.5 * lines(2_000)
    assert joined == 6_000


@given(
    st.text("ab", max_size=30), st.text("ab", min_size=1, max_size=4), st.integers(0, 12), st.lists(st.integers(0, 5))
)
def test_a_stop_string_within_the_first_min_tokens_is_text(text: str, stop: str, least: int, sizes: list[int]) -> None:
    """With one token per character, the stream ends at the first stop string that is completed after `least` tokens."""
    tokenizer = TOKENIZERS["char"]
    ids = tokenizer.encode(text)
    ends = [end for end in range(len(stop), len(text) + 1) if text[:end].endswith(stop) and end > least]
    result = run(TextStream(tokenizer, (stop,), min_tokens=least), chunks(ids, sizes))
    assert result == ((text[: ends[0] - len(stop)], stop) if ends else (text, None))


@given(texts)
@kinds
def test_offsets_are_places_in_the_text(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    offsets, ids = Offsets(tokenizer), tokenizer.encode(text)
    for id_ in ids:
        place, piece = offsets.push(id_), tokenizer.join([id_])
        before = len(text[:place].encode())
        inside = text.encode()[before:].startswith(piece) or (place < len(text) and piece[:1] in text[place].encode())
        assert inside, (place, piece)
    again = offsets.push(ids[0]) if ids else len(text)
    assert again == len(text)


def test_an_incomplete_character_at_the_end_of_a_text_counts_as_one() -> None:
    tokenizer = TOKENIZERS["byte"]
    half, whole = tokenizer.encode("é"), tokenizer.encode("ab")
    offsets = Offsets(tokenizer)
    assert offsets.push(half[0]) == 0
    offsets.end()
    assert [offsets.push(id_) for id_ in whole] == [1, 2]
    open_ = Offsets(tokenizer)
    assert [open_.push(id_) for id_ in (half[0], *whole, half[0], half[0], half[1])] == [0, 1, 2, 3, 4, 4]


@kinds
@settings(max_examples=100)
@given(text=texts, space=st.booleans(), sizes=sizes)
def test_the_lead_is_left_out_before_stop_strings_are_sought(
    kind: str, text: str, space: bool, sizes: list[int]
) -> None:
    tokenizer, stops = TOKENIZERS[kind], (" ", "é日")
    text = f" {text}" if space else text
    stream = TextStream(tokenizer, stops, lead=" ")
    assert run(stream, chunks(tokenizer.encode(text), sizes)) == reference(text.removeprefix(" "), stops, False)
