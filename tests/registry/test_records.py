"""Valid and invalid model references and names (SEC-10)."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.registry.records import ModelReference, check_name, show, visible

HEAD = string.ascii_lowercase + string.digits
NAMES = st.builds(lambda first, rest: first + rest, st.sampled_from(HEAD), st.text(HEAD + "._-", max_size=63)).filter(
    lambda name: not name.startswith("ftckpt-")
)
HEX = "0123456789abcdef"


@given(
    name=NAMES,
    rest=st.one_of(
        st.none(),
        st.integers(1, 999_999_999),
        NAMES,
        st.text(HEX, min_size=64, max_size=64).map(lambda text: f"sha256:{text}"),
    ),
)
def test_a_reference_is_printed_as_it_was_parsed(name: str, rest: int | str | None) -> None:
    text = name if rest is None else f"{name}:{rest}" if isinstance(rest, int) else f"{name}@{rest}"
    reference = ModelReference.parse(text)
    assert reference.name == name and str(reference) == text
    parts = [value for value in (reference.version, reference.alias, reference.digest) if value is not None]
    assert parts == ([] if rest is None else [str(rest).removeprefix("sha256:") if isinstance(rest, str) else rest])


@given(st.text(max_size=100))
def test_any_text_is_a_reference_or_refused_with_a_printable_message(text: str) -> None:
    try:
        reference = ModelReference.parse(text)
    except InvalidRequest as error:
        assert (error.message.isprintable() and error.message.isascii()) or "…" in error.message
        return
    assert str(reference) == text and (reference.checkpoint or check_name(reference.name))


def test_the_id_of_a_checkpoint_is_a_reference() -> None:
    reference = ModelReference.parse("ftckpt-0123456789abcdef01234567")
    assert reference.checkpoint == "ftckpt-0123456789abcdef01234567"


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "@", "name:", "name@", ":3", "name:0", "name:03", "name:-1", "name:1e3", "name:3@x", "name@a@b"),
        *("name@sha256:", "name@sha256:" + "0" * 63, "name@sha256:" + "G" * 64, "name:" + "9" * 5000, "name:٣"),
        *("../etc/passwd", "..%2fetc", "a/b", "a\\b", "a\0b", "a\n", "name\n", "file://x", "a;/../b", "Ä", "NAME"),
        *("ftckpt-", "ftckpt-../x", "ftckpt-a:1", "x" * 65, ".hidden", "-x", "name@.x"),
    ],
)
def test_sec_10_other_texts_are_not_references(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ModelReference.parse(text)
    assert "\n" not in caught.value.message and "\0" not in caught.value.message


@pytest.mark.parametrize("name", ["", "../x", "ftckpt-1", "A", "a b", "a\n", "x" * 65, "a/b", "a\0"])
def test_sec_10_invalid_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        check_name(name)


def test_texts_of_callers_are_printed_safely() -> None:
    assert show("a\x1b[31m\n<b>") == r"'a\x1b[31m\n<b>'"
    assert len(show("x" * 10_000)) < 120


def test_rows_are_visible_to_their_owner_and_the_local_principal() -> None:
    assert visible("alice", "alice") and visible("alice", "local")
    assert not visible("alice", "bob") and not visible("local", "bob")
