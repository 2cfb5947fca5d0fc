"""Dead letters: JSON for any bytes, bounded, one shape."""

from __future__ import annotations

import json
from base64 import b64decode

from hypothesis import given
from hypothesis import strategies as st

from stream.dead_letters import cut_value, encode_dead_letter
from stream.events import Reject
from stream.wire import MAX_DEAD_VALUE_BYTES, DeadLetter


def letter_of(value: bytes | None, *, detail: str = "why", reason: str = "bad_json") -> DeadLetter:
    reject = Reject(offset=7, reason=reason, detail=detail, value=value)
    encoded = encode_dead_letter(reject, topic="interactions", partition=3)
    json.loads(encoded.decode())
    return DeadLetter.model_validate_json(encoded)


def test_letter_says_where_and_why() -> None:
    letter = letter_of(b"{")
    assert (letter.topic, letter.partition, letter.offset) == ("interactions", 3, 7)
    assert (letter.reason, letter.detail, letter.value) == ("bad_json", "why", "{")


def test_null_value_has_neither_form() -> None:
    letter = letter_of(None)
    assert letter.value is None and letter.value_base64 is None


@given(st.binary(max_size=5000) | st.text(max_size=3000).map(str.encode))
def test_any_bytes_come_back(value: bytes) -> None:
    letter = letter_of(value)
    kept = letter.value.encode() if letter.value is not None else None
    if kept is None:
        assert letter.value_base64 is not None
        kept = b64decode(letter.value_base64)
    assert kept == cut_value(value)
    assert (letter.value is None) != (letter.value_base64 is None)


@given(st.text(st.characters(), max_size=2000))
def test_any_detail_is_encoded(detail: str) -> None:
    assert len(letter_of(b"", detail=detail).detail) <= 512


def test_letters_are_bounded() -> None:
    for value in (b"\x00" * 10**6, b"\xff" * 10**6, "\U0010ffff".encode() * 10**5, b'"' * 10**6):
        reject = Reject(offset=2**62, reason="too_large", detail="\x00" * 9999, value=value)
        assert len(encode_dead_letter(reject, topic="t", partition=0)) < 17_000


def test_cut_keeps_whole_characters_and_what_fits() -> None:
    assert cut_value(b"x" * MAX_DEAD_VALUE_BYTES) == b"x" * MAX_DEAD_VALUE_BYTES
    for character in ("é", "€", "😀"):
        for shift in range(4):
            text = "x" * shift + character * MAX_DEAD_VALUE_BYTES
            cut = cut_value(text.encode()) or b""
            assert text.startswith(cut.decode())
            assert MAX_DEAD_VALUE_BYTES - 3 <= len(cut) <= MAX_DEAD_VALUE_BYTES
    assert len(cut_value(b"\x80" * 9999) or b"") <= MAX_DEAD_VALUE_BYTES


def test_reason_from_elsewhere_does_not_raise() -> None:
    assert letter_of(b"x", reason="something_new").reason == "something_new"
