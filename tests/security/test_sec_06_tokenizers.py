"""SEC-06: tokenizers that lengthen a text too much or take minutes are rejected. Limits apply to all others."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tokenizers import Tokenizer as Native
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from app.checkpoint import tokenizer_rules
from app.checkpoint.tokenizer_rules import check
from app.errors import CheckpointInvalid, InvalidRequest
from app.importing.splitting import BASIC_ENGLISH
from app.inference.readers import Readers
from app.settings import Settings
from app.tokenization import bounds
from app.tokenization.bounds import CHARACTERS
from app.tokenization.tokenizer import Tokenizer
from tests.security.attacks import MODELS, checkpoint, code, upload
from tests.serving import Api

DOUBLE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
SECONDS, MEBIBYTES = 10, 512  # of processor time and memory, for the most expensive tokenizer and text allowed
WORST = """
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
from app.tokenization.tokenizer import Tokenizer
tokenizer = Tokenizer(sys.argv[1], bounded=True)
before = resource.getrusage(resource.RUSAGE_SELF)
tokenizer.encode(sys.argv[2] * int(sys.argv[3]))
after = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss, which includes the memory of the process that started this one.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print(json.dumps([after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak / 1024]))
"""


@pytest.fixture
def http(settings: Settings) -> Iterator[httpx.Client]:
    with Api(settings) as api, api.client() as client:
        yield client


def definition(**parts: Any) -> dict[str, Any]:
    """The definition of a minimal tokenizer, with the parts that an attack adds."""
    return {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}} | parts


def sequence(name: str, *components: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", name: list(components)}


def replacement(content: str, pattern: str = "a") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def charsmap(longest: int) -> dict[str, Any]:
    content = (8).to_bytes(4, "little") + bytes(8) + b"x" * longest + b"\0"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


def template(*pieces: str, ids: int = 1) -> dict[str, Any]:
    single = [{"Sequence": {"id": piece, "type_id": 0}} for piece in pieces]
    token = {"id": "x", "ids": [0] * ids, "tokens": ["a"] * ids}
    return {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": {"x": token}}


ATTACKS = {
    "a letter becomes a megabyte": definition(normalizer=replacement("b" * 2**20)),
    "a chain of doublings": definition(normalizer=sequence("normalizers", *[DOUBLE] * 30)),
    "a chain in a chain": definition(
        normalizer=sequence("normalizers", *[sequence("normalizers", DOUBLE, DOUBLE)] * 9)
    ),
    "a chain under another name": definition(
        normalizer={"type": "Sequence", "normalizers": [], "decoders": [DOUBLE] * 9}
    ),
    "a replacement without its type": definition(normalizer={"pattern": {"String": "a"}, "content": "b" * 99}),
    "an empty pattern": definition(normalizer=replacement("b", "")),
    "a long beginning": definition(normalizer={"type": "Prepend", "prepend": "b" * 99}),
    "bytes of bytes": definition(
        pre_tokenizer=sequence("pretokenizers", *[{"type": "ByteLevel", "add_prefix_space": False}] * 30)
    ),
    "a map with long replacements": definition(normalizer=charsmap(10_000)),
    "a map that is not a map": definition(normalizer={"type": "Precompiled", "precompiled_charsmap": "?"}),
    "an unknown component": definition(pre_tokenizer={"type": "Exec"}),
    "a component that is not an object": definition(normalizer=[1]),
    "a template that repeats the text": definition(post_processor=template(*"A" * 9)),
    "a template with a long token": definition(post_processor=template("A", ids=10_000)),
    "a decoder that doubles": definition(decoder=sequence("decoders", *[DOUBLE] * 30)),
    "long words": {"model": {"type": "WordPiece", "vocab": {"a": 0}, "max_input_chars_per_word": 10**9}},
    "long pieces": {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a" * n, -1.0] for n in range(1, 999)]}},
    "long tokens": {"model": {"type": "WordLevel", "unk_token": "a", "vocab": {"a" * 2**20: 0}}},
    "long added tokens": definition(added_tokens=[{"id": 1, "content": "a" * 2**20, "special": True}]),
    "huge ids": {"model": {"type": "WordLevel", "unk_token": "a", "vocab": {"a": 2**32 - 2}}},
    "huge added ids": definition(added_tokens=[{"id": 2**31, "content": "b", "special": True}]),
    "negative ids": {"model": {"type": "WordLevel", "unk_token": "a", "vocab": {"a": -1}}},
    "a long affix": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "end_of_word_suffix": "b" * 999}},
    "an unknown model": {"model": {"type": "Exec"}},
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_tokenizer_without_bounds_is_refused(attack: str) -> None:
    with pytest.raises(CheckpointInvalid) as refusal:
        check(ATTACKS[attack])
    assert refusal.value.param == "tokenizer.json"


def test_an_upload_with_such_a_tokenizer_changes_nothing(http: httpx.Client, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    (folder / "tokenizer.json").write_text(json.dumps(ATTACKS["a chain of doublings"]))
    began = time.monotonic()
    reply = upload(http, folder)
    assert (reply.status_code, code(reply)) == (400, "invalid_checkpoint")
    assert time.monotonic() - began < 10
    assert http.get(MODELS).json()["data"] == []


def bert() -> Native:
    native = Native(models.WordPiece({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3}, unk_token="[UNK]"))
    native.normalizer = normalizers.BertNormalizer()
    native.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [("[CLS]", 1), ("[SEP]", 2)]
    native.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]:1", special)
    native.decoder = decoders.WordPiece()
    return native


def llama() -> Native:
    native = Native(models.BPE({"<unk>": 0, "▁": 1, "a": 2}, [], unk_token="<unk>", byte_fallback=True))
    native.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    native.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return native


def t5() -> Native:
    native = Native(
        models.Unigram([("<unk>", 0.0), ("▁", -1.0), *(("▁" + "a" * n, -2.0) for n in range(1, 17))], 0, False)
    )
    native.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace("``", '"')])
    native.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    native.decoder = decoders.Metaspace()
    return native


def basic_english() -> Native:
    native = Native(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    replaced = [normalizers.Replace(old, new) for old, new in BASIC_ENGLISH]
    native.normalizer = normalizers.Sequence([normalizers.Lowercase(), *replaced])
    native.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return native


@pytest.mark.parametrize("make", [bert, llama, t5, basic_english])
def test_public_tokenizers_are_accepted(make: Any) -> None:
    check(json.loads(make().to_str()))


def widest() -> Native:
    """The accepted tokenizer that lengthens a text the most."""
    native = t5()
    native.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Replace("ل", "aaaa"), normalizers.NFKD()])
    return native


def slowest() -> Native:
    """The accepted tokenizer that finds the most pieces at each character."""
    pieces = [("<unk>", 0.0), *(("a" * n, -float(n)) for n in range(1, tokenizer_rules.PIECE_LIMIT + 1))]
    return Native(models.Unigram(pieces, 0, False))


@pytest.mark.parametrize(("make", "text"), [(widest, "ل"), (slowest, "a"), (bert, "丽"), (bert, "a" * 100 + " ")])
def test_the_most_expensive_text_is_bounded(make: Any, text: str) -> None:
    """Runs in a separate process with limited memory, because the attack must not end this process."""
    native = make()
    check(json.loads(native.to_str()))
    arguments = [native.to_str(), text, str(CHARACTERS // len(text))]
    done = subprocess.run([sys.executable, "-c", WORST, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    seconds, mebibytes = json.loads(done.stdout)
    assert seconds < SECONDS
    assert mebibytes < MEBIBYTES


def test_longer_texts_are_refused() -> None:
    tokenizer = Tokenizer(t5().to_str(), bounded=True)
    for texts in (["a" * (CHARACTERS + 1)], ["ﷺ" * 1000]):
        with pytest.raises(InvalidRequest) as refusal:
            tokenizer.encode_batch(texts)
        assert refusal.value.code == "text_too_long"
    assert tokenizer.encode("각" * 1000)  # Korean syllables have up to three parts
    assert len(tokenizer.encode_batch(["a" * (CHARACTERS // 2)] * 3)) == 3


def test_texts_that_nobody_waits_for_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a request is cancelled, its work ends with the current group of texts."""
    monkeypatch.setattr(bounds, "CHARACTERS", 1)
    tokenizer, read = Tokenizer(bert().to_str(), bounded=True), []
    encode = Tokenizer._encode_group

    def note(self: Tokenizer, group: Any, special: bool) -> list[Any]:
        read.append(group)
        if len(read) == 3:
            gone.set()
            assert cancelled.wait(30)
        return encode(self, group, special)

    monkeypatch.setattr(Tokenizer, "_encode_group", note)
    gone, cancelled = threading.Event(), threading.Event()

    async def request() -> None:
        readers = Readers(10**6)
        task = asyncio.create_task(readers.run(1000, lambda: tokenizer.encode_batch(["a"] * 1000), "alice"))
        await asyncio.to_thread(gone.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled.set()
        await asyncio.gather(*readers._tasks, return_exceptions=True)
        assert readers.load == 0
        readers.close()

    asyncio.run(request())
    assert len(read) == 3


def test_a_key_cannot_hold_all_threads() -> None:
    async def requests() -> list[str]:
        readers, hold = Readers(10**6), threading.Event()
        held = [asyncio.create_task(readers.run(1, hold.wait, "alice")) for _ in range(8)]
        for task in held[:4]:  # a cancelled request occupies its thread until its work ends
            await asyncio.sleep(0)
            task.cancel()
        answer = await asyncio.wait_for(readers.run(1, lambda: "bob's answer", "bob"), 30)
        hold.set()
        await asyncio.gather(*held, return_exceptions=True)
        readers.close()
        return [answer]

    assert asyncio.run(requests()) == ["bob's answer"]


def test_a_decoder_that_fails_is_reported(http: httpx.Client, tmp_path: Path) -> None:
    """The decoder removes a million characters from each token, and the library panics if there are fewer."""
    folder = checkpoint(tmp_path / "checkpoint")
    words = {"type": "WordPiece", "unk_token": "a", "vocab": {"a": 0}, "max_input_chars_per_word": 9}
    words["continuing_subword_prefix"] = ""
    decoder = {"type": "Strip", "content": "a", "start": 10**6, "stop": 1}
    (folder / "tokenizer.json").write_text(json.dumps(definition(model=words, decoder=decoder)))
    assert upload(http, folder).is_success
    reply = http.post("/detokenize", json={"model": "mood", "tokens": [0, 0]})
    assert (reply.status_code, code(reply)) == (400, "invalid_text"), reply.text
