from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from app.errors import CheckpointInvalid, InvalidRequest
from app.tokenization.tokenizer import REMEMBERED, SLICE, Tokenizer
from app.tokenization.training import KINDS, SMALLEST, train

TEXTS = [
    "The quick brown fox jumps over the lazy dog. The end.",
    "Ein Satz mit Ümläuten und ß, noch ein Satz.",
    "<eos> is written <eos> here <eos> often <eos>, and <pad> and <sep> too. <sep><sep> <pad><eos><eos>",
    "日本語のテキスト, русский текст",
] * 3
TRAINED = {kind: train(TEXTS, kind, 500) for kind in KINDS}
kinds = pytest.mark.parametrize("kind", KINDS)
texts = st.text(st.characters(exclude_categories=["Cs"]))


@kinds
@settings(max_examples=150)
@given(text=texts)
@example("")
@example("  leading\n\n\ttrailing  \r\n")
@example("a\0b\N{ZERO WIDTH JOINER}")
@example("<eos><pad> <sep><0x41> <unk>")
@example("e\N{COMBINING ACUTE ACCENT} 👩‍👩‍👧‍👦 🏳️‍🌈 \N{REPLACEMENT CHARACTER}")
@example("العربية हिन्दी ไทย 한국어 ქართული አማርኛ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010ffff")
def test_every_text_is_encoded_without_loss(kind: str, text: str) -> None:
    tokenizer = TRAINED[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & {0, 1, 2}
    assert all(0 <= i < tokenizer.vocab_size for i in ids)


@kinds
def test_special_tokens(kind: str, tmp_path: Path) -> None:
    tokenizer = TRAINED[kind]
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.sep_id) == (0, 1, 2)
    assert tokenizer.decode([0, *tokenizer.encode("a"), 1]) == "a"
    assert tokenizer.token_text(1) == "<eos>"
    first, second = tokenizer.encode("one"), tokenizer.encode("two")
    assert tokenizer.encode_pair("one", "two") == [*first, 2, *second]


@kinds
def test_save_and_load(kind: str, tmp_path: Path) -> None:
    tokenizer = TRAINED[kind]
    tokenizer.save(tmp_path)
    for loaded in (Tokenizer.load(tmp_path), Tokenizer.load(tmp_path / "tokenizer.json")):
        assert loaded.kind == kind
        assert loaded.encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS)
        assert loaded.vocab_size == tokenizer.vocab_size
        assert (loaded.pad_id, loaded.eos_id, loaded.sep_id) == (0, 1, 2)


@kinds
@settings(max_examples=50)
@given(text=texts.filter(lambda text: "<" not in text))
def test_the_library_encodes_and_decodes_the_same_with_the_saved_file(kind: str, text: str) -> None:
    native = tokenizers.Tokenizer.from_str(TRAINED[kind]._definition)
    assert native.encode(text).ids == TRAINED[kind].encode(text)
    assert native.decode(native.encode(text).ids) == text


@kinds
def test_training_is_deterministic_across_processes(kind: str, tmp_path: Path) -> None:
    program = (
        "import sys, json; from app.tokenization.training import train\n"
        "train(json.loads(sys.argv[1]), sys.argv[2], 500).save(sys.argv[3])"
    )
    for threads, seed in (("1", "1"), ("3", "2")):
        out = tmp_path / f"{threads}.json"
        env = {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": seed, "PATH": ""}
        subprocess.run([sys.executable, "-c", program, json.dumps(TEXTS), kind, str(out)], check=True, env=env)
        assert out.read_text() == TRAINED[kind]._definition


def test_sizes() -> None:
    assert TRAINED["bpe"].vocab_size > SMALLEST
    assert TRAINED["byte"].vocab_size == SMALLEST
    small = train(["aab" * 5, "c"], "char", SMALLEST + 2)
    assert small.vocab_size == SMALLEST + 2
    assert len(small.encode("ab")) == 2 and len(small.encode("c")) == 1
    assert [small.token_text(i) for i in small.encode("abc")] == ["a", "b", "c"]
    assert small.encode("a") == [SMALLEST] and small.encode("c") == [3 + ord("c")]
    assert train([], "bpe").decode(train([], "bpe").encode("no texts")) == "no texts"


@pytest.mark.parametrize(("kind", "size", "param"), [("words", 500, "tokenizer"), ("bpe", 258, "vocab_size")])
def test_invalid_options_are_refused(kind: str, size: int, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        train(TEXTS, kind, size)
    assert caught.value.param == param


@kinds
def test_surrogates_are_refused(kind: str) -> None:
    with pytest.raises(InvalidRequest, match=r"surrogate, U\+D800") as caught:
        TRAINED[kind].encode_batch(["fine", "a\ud800b"])
    assert caught.value.code == "invalid_text"
    if kind != "byte":
        with pytest.raises(InvalidRequest, match="text 2 "):
            train(["fine", "a\ud800b"], kind)


def test_training_reads_each_text_once() -> None:
    taken = 0

    def many() -> object:
        nonlocal taken
        for i in range(20_000):
            taken += 1
            yield f"line {i % 50}\n"

    for kind in ("bpe", "char"):
        train(many(), kind, 300)  # type: ignore[arg-type]
    assert taken == 40_000


def test_unknown_ids_become_replacement_characters() -> None:
    tokenizer = TRAINED["bpe"]
    assert tokenizer.decode([tokenizer.vocab_size, -1]) == "\N{REPLACEMENT CHARACTER}" * 2
    assert tokenizer.token_text(10**6) == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"model": 3}', "[" * 10_000])
def test_invalid_files_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointInvalid):
        Tokenizer.load(tmp_path)
    with pytest.raises(CheckpointInvalid):
        Tokenizer.load(tmp_path / "missing")


def _bert() -> tokenizers.Tokenizer:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "world", "##s", ",", "x"]
    native = tokenizers.Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    native.normalizer = normalizers.Lowercase()
    native.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    native.decoder = decoders.WordPiece()
    native.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    native.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    native.enable_truncation(4)
    native.enable_padding(length=8)
    return native


def test_a_word_piece_file(tmp_path: Path) -> None:
    _bert().save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.kind == "wordpiece"
    assert (tokenizer.pad_id, tokenizer.sep_id, tokenizer.eos_id) == (0, 3, None)
    assert tokenizer.encode("Hello worlds, hello") == [2, 4, 5, 6, 7, 4, 3]
    assert tokenizer.encode_pair("hello", "world") == [2, 4, 3, 5, 3]
    assert tokenizer.decode([2, 4, 5, 6, 7, 3]) == "hello worlds,"
    assert 3 not in tokenizer.encode("x [SEP] x")[:-1]


def test_a_word_level_file_whose_words_name_special_tokens(tmp_path: Path) -> None:
    vocabulary = {"<unk>": 0, "</s>": 1, "good": 2, "bad": 3}
    native = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    native.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    native.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "</s>"}}))
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.kind, tokenizer.eos_id) == ("wordlevel", 1)
    assert tokenizer.encode("good </s> film") == [2, 0, 0]
    assert tokenizer.decode([2, 3]) == "good bad"


def test_a_panic_of_the_library_is_an_invalid_request(tmp_path: Path) -> None:
    native = tokenizers.Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    native.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex("(a+)+$"), "isolated")
    with pytest.raises(InvalidRequest, match="tokenizer cannot encode the text"):
        Tokenizer(native.to_str()).encode("a" * 40 + "b")


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_encoding_a_long_text_does_not_block_other_threads(kind: str) -> None:
    text = "Größe: 5 µm, 日本. " * (60 * SLICE // 17)
    reading, done, turns = threading.Event(), threading.Event(), 0

    def others() -> None:
        nonlocal turns
        reading.wait(10)
        while not done.is_set():
            turns += 1
            done.wait(0.001)

    thread = threading.Thread(target=others)
    thread.start()
    reading.set()
    ids = TRAINED[kind].encode(text)
    done.set()
    thread.join()
    assert turns > 5
    assert ids == TRAINED[kind].encode("Größe: 5 µm, 日本. ") * (60 * SLICE // 17)


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_the_cache_of_rare_characters_is_bounded(kind: str) -> None:
    tokenizer = train(TEXTS, kind, 500)
    text = "".join(map(chr, range(0xE000, 0x20000)))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer._characters is not None and len(tokenizer._characters) <= REMEMBERED
    assert tokenizer.decode(tokenizer.encode(TEXTS[0])) == TEXTS[0]


@kinds
@settings(max_examples=50)
@given(text=texts)
def test_no_token_stands_for_more_characters_than_the_longest(kind: str, text: str) -> None:
    longest = TRAINED[kind].longest
    assert longest is not None and len(TRAINED[kind].encode(text)) * longest >= len(text)


def test_the_longest_token_is_unknown_if_characters_may_be_dropped() -> None:
    definition = json.loads(TRAINED["bpe"]._definition)
    assert Tokenizer(_bert().to_str()).longest is None
    definition["model"]["fuse_unk"] = True
    assert Tokenizer(json.dumps(definition)).longest is None


@kinds
def test_only_tokenizers_trained_here_are_quick(kind: str) -> None:
    assert TRAINED[kind].quick
    assert not Tokenizer(_bert().to_str()).quick
    split = json.loads(TRAINED[kind]._definition)
    split["normalizer"] = {"type": "NFC"}
    assert not Tokenizer(json.dumps(split)).quick


def test_special_tokens_can_be_given_by_id(tmp_path: Path) -> None:
    TRAINED["bpe"].save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [7, 8], "pad_token_id": "no"}))
    assert Tokenizer.load(tmp_path).eos_id == 7


@kinds
def test_every_character_is_encoded_without_loss(kind: str) -> None:
    tokenizer = train(["".join(map(chr, range(0x20, 0x2000)))] * 3, kind, 2000)
    blocks = ["".join(map(chr, range(start, start + 0x400))) for start in range(0, 0x110000, 0x400)]
    whole = [block for block in blocks if not 0xD800 <= ord(block[0]) <= 0xDFFF]
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(whole)] == whole
