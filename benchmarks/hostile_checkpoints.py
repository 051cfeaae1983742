"""Creates checkpoints and tokenizers with wrong values or damaged bytes. Equal seeds produce equal archives."""

from __future__ import annotations

import io
import json
import random
import struct
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.checkpoint.directory import WEIGHTS
from app.tokenization.training import train
from benchmarks import hostile_values as values
from tests.checkpoints import make_checkpoint

Files = dict[str, bytes]
LABELS = ("no", "perhaps", "yes")
CLASSIFIER: dict[str, Any] = {"classes": len(LABELS), "labels": LABELS}
GENERATOR: dict[str, Any] = {"task": "generation", "classes": 0, "labels": (), "context_length": 64}
NETWORKS: tuple[dict[str, Any], ...] = (
    {"architecture": "lstm", **CLASSIFIER},
    {"architecture": "gru", "bidirectional": True, **CLASSIFIER},
    {"architecture": "transformer", "heads": 2, "context_length": 64, **CLASSIFIER},
    {"architecture": "lstm", **GENERATOR},
    {"architecture": "transformer", "heads": 2, **GENERATOR},
    {"architecture": "rnn", "task": "multilabel", **CLASSIFIER},
)
LETTERS = (
    "a",
    "b",
    "c",
    "ab",
    "abc",
    "##a",
    "##b",
    "\u2581",
    "\u2581a",
    "\u0120",
    "\u0120a",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "<unk>",
    "<s>",
    "</s>",
    "\u00e9",
    "\U0001f40d",
    " ",
    "<0x41>",
    "1",
    "",
)
PLAIN = ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel")
TEXTS = (
    "a",
    "",
    "abc ab c",
    "a" * 3000,
    "\u00e9\u0301\u1e9b\u0323 \ufdfa" * 40,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\x01\x7f\u200b",
    "1 2 3,4.5",
    "A B\nC\tD\r",
)


def valid(folder: Path, network: dict[str, Any], kind: str = "byte") -> Files:
    """Return the files of a valid checkpoint, with a small network and a tokenizer of this kind."""
    trained = train(["abc abd a b c"], kind, 300)
    make_checkpoint(folder, vocab_size=trained.vocab_size, **network)
    trained.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def any_valid(folder: Path, draw: random.Random) -> Files:
    """Return the files of a valid checkpoint of one of `NETWORKS`."""
    return valid(folder, draw.choice(NETWORKS), draw.choice(("byte", "bpe")))


def of_tokenizer(folder: Path, definition: dict[str, Any], draw: random.Random) -> Files:
    """Return the files of a checkpoint with this tokenizer. Its vocabulary size matches the tokenizer or is 300."""
    model = definition.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    size = len(vocabulary) + 3 if isinstance(vocabulary, dict | list) else 5
    make_checkpoint(folder, vocab_size=draw.choice((size, 300)), **draw.choice(NETWORKS))
    (folder / "tokenizer.json").write_bytes(values.encoded(definition, draw))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def drawn(draw: random.Random) -> tuple[str, bytes]:
    """Draw a kind of change. Returns the kind, and an archive of a checkpoint that is changed in this way."""
    kind = draw.choice(tuple(KINDS))
    with TemporaryDirectory() as folder:
        return kind, KINDS[kind](Path(folder) / "checkpoint", draw)


def _values(folder: Path, draw: random.Random) -> bytes:
    files = any_valid(folder, draw)
    name = draw.choice([path for path in files if path.endswith(".json")])
    return archive(
        files | {name: values.encoded(values.changed(json.loads(files[name]), draw, draw.choice((1, 2, 4))), draw)},
        draw,
    )


def _network(folder: Path, draw: random.Random) -> bytes:
    """Change the configuration and create matching weights, so that the network is more often accepted and run."""
    files = any_valid(folder, draw)
    config = json.loads(files["config.json"])
    config = {name: value for name, value in config.items() if name not in ("format_version",)}
    for _ in range(draw.choice((1, 1, 2))):
        option = draw.choice(OPTIONS)
        small = isinstance(config.get(option, 1), int) and draw.random() < 0.7
        config[option] = draw.choice((0, 1, 2, 3, 4, 8, 16, 64)) if small else draw.choice(OPTION_VALUES)
    make_checkpoint(folder, labels=LABELS, **config)
    return archive(
        {path.name: path.read_bytes() for path in folder.iterdir()} | {"tokenizer.json": files["tokenizer.json"]}, draw
    )


def _tokenizer(folder: Path, draw: random.Random) -> bytes:
    whole = tokenizer(draw)
    whole = values.changed(whole, draw, draw.choice((1, 2))) if draw.random() < 0.4 else whole
    return archive(of_tokenizer(folder, whole if isinstance(whole, dict) else {"model": whole}, draw), draw)


def _weights(folder: Path, draw: random.Random) -> bytes:
    files = any_valid(folder, draw)
    [length] = struct.unpack("<Q", files[WEIGHTS][:8])
    header, data = json.loads(files[WEIGHTS][8 : 8 + length]), files[WEIGHTS][8 + length :]
    text = values.encoded(values.changed(header, draw, draw.choice((1, 2))), draw)
    size = len(text) if draw.random() < 0.9 else draw.choice((0, 1, 2**32, 2**63, 2**64 - 1))
    if draw.random() < 0.3:
        data = values.damaged(data, draw, (b"\x00\x00\xc0\x7f" * 8, b"\x00\x00\x80\x7f", b"\xff" * 16))
    return archive(files | {WEIGHTS: struct.pack("<Q", size) + text + data}, draw)


def _extras(folder: Path, draw: random.Random) -> bytes:
    files = any_valid(folder, draw)
    for name in draw.sample(
        ("metrics.json", "calibration.json", "training.json", "results.csv", "README.md", "labels.json", "plots/a.svg"),
        2,
    ):
        files[name] = values.encoded(
            draw.choice((values.value(draw), {"test": values.value(draw)}, values.changed(CALIBRATION, draw, 2))), draw
        )
    return archive(files, draw)


def _bytes(folder: Path, draw: random.Random) -> bytes:
    files = any_valid(folder, draw)
    name = draw.choice(sorted(files))
    return archive(files | {name: values.damaged(files[name], draw)}, draw)


def _archive(folder: Path, draw: random.Random) -> bytes:
    packed = archive(any_valid(folder, draw), draw, odd=True)
    return (
        values.damaged(packed, draw, (b"\0" * 512, b"\xff" * 12, b"../", b"7" * 11)) if draw.random() < 0.7 else packed
    )


KINDS = {
    "values": _values,
    "network": _network,
    "tokenizer": _tokenizer,
    "tokenizers": _tokenizer,  # a second entry, so that it is drawn twice as often
    "weights": _weights,
    "extras": _extras,
    "bytes": _bytes,
    "archive": _archive,
}
OPTIONS = (
    "layers",
    "width",
    "heads",
    "kv_heads",
    "inner",
    "context_length",
    "vocab_size",
    "classes",
    "bidirectional",
    "pooling",
    "architecture",
    "task",
    "norm",
    "activation",
    "positions",
    "dropout",
    "tied",
    "window",
    "input",
    "features",
    "embedding",
    "rope_base",
)
OPTION_VALUES = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    64,
    300,
    1025,
    2**20,
    -1,
    0.5,
    1e9,
    True,
    False,
    None,
    "",
    "lstm",
    "gru",
    "rnn",
    "transformer",
    "linear",
    "classification",
    "generation",
    "multilabel",
    "regression",
    "tagging",
    "embedding",
    "mean",
    "max",
    "last",
    "first",
    "gelu",
    "relu",
    "rope",
    "learned",
)
CALIBRATION = {"version": 1, "temperature": 1.0, "classes": [0.5, 0.5], "thresholds": {"yes": 0.5}, "bias": [0.0, 0.0]}


def archive(files: Files, draw: random.Random, *, odd: bool = False) -> bytes:
    """Pack files into a tar archive. With `odd`, the archive also has a member that should be rejected."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=draw.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if odd:
            member = tarfile.TarInfo(
                draw.choice(
                    (
                        "../x",
                        "/etc/x",
                        "a/../b",
                        "config.json",
                        "CONFIG.JSON",
                        "x" * 300,
                        "a\nb",
                        "\udc80",
                        "plots/a.png",
                        ".",
                    )
                )
            )
            member.type = draw.choice(
                (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE)
            )
            member.linkname = draw.choice(("config.json", "/etc/passwd", "..", ""))
            tar.addfile(member)
    return buffer.getvalue()


# --- tokenizers -----------------------------------------------------------------------------------------------------


def tokenizer(draw: random.Random) -> dict[str, Any]:
    """Draw a tokenizer whose components exist but have arbitrary values."""
    words = list(dict.fromkeys(draw.choice(LETTERS) for _ in range(draw.choice((1, 5, 30)))))
    return {
        "version": "1.0",
        "truncation": draw.choice(
            (
                None,
                None,
                None,
                {
                    "direction": "Right",
                    "max_length": draw.choice((0, 1, 8)),
                    "strategy": "LongestFirst",
                    "stride": draw.choice((0, 1, 9)),
                },
            )
        ),
        "padding": draw.choice(
            (
                None,
                None,
                None,
                {
                    "strategy": {"Fixed": draw.choice((1, 9, 10**9))},
                    "direction": "Right",
                    "pad_to_multiple_of": draw.choice((None, 0, 8)),
                    "pad_id": 0,
                    "pad_type_id": 0,
                    "pad_token": "[PAD]",
                },
            )
        ),
        "added_tokens": [_added(draw, number) for number in range(draw.choice((0, 0, 1, 4)))],
        "normalizer": _sequence(draw, "normalizers", _normalizer),
        "pre_tokenizer": _sequence(draw, "pretokenizers", _splitter),
        "post_processor": _sequence(draw, "processors", _processor),
        "decoder": _sequence(draw, "decoders", _decoder),
        "model": _model(draw, words),
    }


def _sequence(draw: random.Random, name: str, component: Any) -> Any:
    count = draw.choice((0, 0, 1, 1, 2, 4))
    if count == 0:
        return None
    return component(draw) if count == 1 else {"type": "Sequence", name: [component(draw) for _ in range(count)]}


def _added(draw: random.Random, number: int) -> dict[str, Any]:
    flags = {name: draw.random() < 0.3 for name in ("single_word", "lstrip", "rstrip", "normalized", "special")}
    return {
        "id": draw.choice((number, number + 30, 0, 70_000)),
        "content": draw.choice((*LETTERS, "aaaa", "\x00", "a b")),
        **flags,
    }


def _pattern(draw: random.Random) -> dict[str, str]:
    return draw.choice(
        (
            {"String": draw.choice((*LETTERS, "aa", " "))},
            {"Regex": draw.choice((r"\s+", " {2,}", "(a+)+$", "[", r"\w+|[^\w\s]+", "", r"(?=a)", "a*"))},
        )
    )


def _normalizer(draw: random.Random) -> dict[str, Any]:
    return draw.choice(
        (
            {"type": draw.choice(PLAIN)},
            {"type": "Strip", "strip_left": draw.random() < 0.5, "strip_right": draw.random() < 0.5},
            {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": True,
                "strip_accents": draw.choice((None, True, False)),
                "lowercase": draw.random() < 0.5,
            },
            {"type": "Replace", "pattern": _pattern(draw), "content": draw.choice(("", " ", "\u2581", "bb", "b" * 9))},
            {"type": "Prepend", "prepend": draw.choice(("\u2581", "", "aaaaa"))},
            {"type": "Precompiled", "precompiled_charsmap": draw.choice(("", "AAAA", "AAAAAAAAAAAAAA==", "!"))},
        )
    )


def _splitter(draw: random.Random) -> dict[str, Any]:
    behavior = draw.choice(("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"))
    return draw.choice(
        (
            {"type": draw.choice(("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts"))},
            {
                "type": "ByteLevel",
                "add_prefix_space": draw.random() < 0.5,
                "trim_offsets": True,
                "use_regex": draw.random() < 0.5,
            },
            {
                "type": "Metaspace",
                "replacement": draw.choice(("\u2581", "_", "ab", "")),
                "prepend_scheme": draw.choice(("always", "never", "first")),
                "split": draw.random() < 0.5,
            },
            {"type": "Digits", "individual_digits": draw.random() < 0.5},
            {"type": "Punctuation", "behavior": behavior},
            {"type": "Split", "pattern": _pattern(draw), "behavior": behavior, "invert": draw.random() < 0.3},
            {"type": "CharDelimiterSplit", "delimiter": draw.choice((" ", "a", ""))},
            {"type": "FixedLength", "length": draw.choice((0, 1, 5))},
        )
    )


def _processor(draw: random.Random) -> dict[str, Any]:
    pieces = [{"Sequence": {"id": draw.choice("AB"), "type_id": 0}} for _ in range(draw.choice((0, 1, 2)))]
    special = {"SpecialToken": {"id": draw.choice(("[CLS]", "[SEP]", "x")), "type_id": draw.choice((0, 1))}}
    tokens = {name: {"id": name, "ids": [draw.choice((0, 1, 500))], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    return draw.choice(
        (
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": draw.random() < 0.5, "use_regex": True},
            {"type": "BertProcessing", "sep": ["[SEP]", draw.choice((0, 2, 10**6))], "cls": ["[CLS]", 1]},
            {
                "type": "RobertaProcessing",
                "sep": ["</s>", 2],
                "cls": ["<s>", 0],
                "trim_offsets": True,
                "add_prefix_space": True,
            },
            {
                "type": "TemplateProcessing",
                "single": [special, *pieces, special],
                "pair": [special, *pieces, *pieces],
                "special_tokens": tokens,
            },
        )
    )


def _decoder(draw: random.Random) -> dict[str, Any]:
    return draw.choice(
        (
            {"type": draw.choice(("ByteLevel", "ByteFallback", "Fuse"))},
            {"type": "WordPiece", "prefix": draw.choice(("##", "", "a")), "cleanup": draw.random() < 0.5},
            {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
            {"type": "BPEDecoder", "suffix": draw.choice(("</w>", "", "a"))},
            {"type": "Replace", "pattern": _pattern(draw), "content": draw.choice((" ", "", "b" * 9))},
            {
                "type": "Strip",
                "content": draw.choice((" ", "a")),
                "start": draw.choice((0, 1, 10**6)),
                "stop": draw.choice((0, 1)),
            },
            {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
        )
    )


def _model(draw: random.Random, words: list[str]) -> dict[str, Any]:
    step = draw.choice((1, 1, 1, 3))
    vocabulary = {word: number * step for number, word in enumerate(words)}
    unknown = draw.choice((*words, "[UNK]"))
    pairs = [[draw.choice(words), draw.choice(words)] for _ in range(draw.choice((0, 3)))]
    merges = [pair for pair in pairs if "".join(pair) in vocabulary or draw.random() < 0.1]
    return draw.choice(
        (
            {
                "type": "BPE",
                "dropout": draw.choice((None, None, 0.5, 1.5)),
                "unk_token": draw.choice((None, unknown)),
                "continuing_subword_prefix": draw.choice((None, "", "##")),
                "end_of_word_suffix": draw.choice((None, "", "</w>")),
                "fuse_unk": draw.random() < 0.5,
                "byte_fallback": draw.random() < 0.3,
                "ignore_merges": draw.random() < 0.3,
                "vocab": vocabulary,
                "merges": merges,
            },
            {
                "type": "WordPiece",
                "unk_token": unknown,
                "continuing_subword_prefix": draw.choice(("##", "")),
                "max_input_chars_per_word": draw.choice((0, 1, 100, 256)),
                "vocab": vocabulary,
            },
            {"type": "WordLevel", "unk_token": unknown, "vocab": vocabulary},
            {
                "type": "Unigram",
                "unk_id": draw.choice((None, 0, len(words) - 1, len(words))),
                "byte_fallback": draw.random() < 0.3,
                "vocab": [[word, draw.choice((0.0, -1.0, -1e308, 1.0))] for word in words],
            },
        )
    )
