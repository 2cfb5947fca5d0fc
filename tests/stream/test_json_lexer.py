"""The lexer skips exactly what is strict JSON, by the standard library's word."""

from __future__ import annotations

import json
import re

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.json_lexer import (
    HAS_CONTROL,
    HAS_ESCAPE,
    plain_string_end,
    skip_number,
    skip_space,
    skip_string,
    skip_value,
)
from stream.wire import MAX_DEPTH
from tests.stream.interaction_oracle import nesting, read_json

# Eight bytes before every text: the lexer loads words from before the end of a record.
_BEFORE = b'{"name":'


class Text:
    """A text in memory with its address; the array lives as long as this does."""

    def __init__(self, text: bytes, behind: bytes = b"") -> None:
        self.array = np.frombuffer(_BEFORE + text + behind, np.uint8)
        self.address = self.array.ctypes.data
        self.begin = len(_BEFORE)
        self.end = self.begin + len(text)


def skipped(text: bytes, behind: bytes = b"") -> int:
    """Return how many bytes of a value are skipped, -1 where it is not read."""
    held = Text(text, behind)
    after = skip_value(held.address, held.begin, held.end)
    return after - held.begin if after >= 0 else -1


def is_strict(text: bytes) -> bool:
    """Tell whether the standard library reads a text as one strict JSON value."""
    try:
        decoded = text.decode()
        read_json(decoded)
    except ValueError:
        return False
    return nesting(decoded) < MAX_DEPTH


FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=10,
)
WORDS = ["null", "true", "false", "NaN", "Infinity", '"a"', "\\u00e9", "\\ud83d", "\\ude00", "1.5"]
CHARACTERS = list('[]{},:"\\ \n\t09-+.eEé\x00\x7f')
FRAGMENTS = st.lists(st.sampled_from([*CHARACTERS, *WORDS, "[]", "{}", '"k":']), max_size=12).map(
    "".join
)


@settings(max_examples=200, deadline=None)
@given(
    JSON_VALUES,
    st.booleans(),
    st.sampled_from([None, 1]),
    st.sampled_from([b"", b",", b'"', b"9"]),
)
def test_every_strict_value_is_skipped_whole(
    value: object, ascii_only: bool, indent: int | None, behind: bytes
) -> None:
    spelled = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    text = spelled.encode("utf-8", "surrogatepass")
    assert skipped(text, behind) == (len(text) if is_strict(text) else -1)


@settings(max_examples=500, deadline=None)
@given(FRAGMENTS)
@example("[1,]")
@example("{}}")
@example('{"a":[}]')
@example("[" * 31 + "]" * 31)
@example("[" * 32 + "]" * 32)
def test_nothing_but_strict_json_is_skipped(text: str) -> None:
    data = text.encode()
    length = skipped(data)
    is_whole = length >= 0 and not data[length:].strip(b" \t\r\n")
    assert is_whole == is_strict(data)
    if length >= 0:
        assert is_strict(data[:length])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=12), st.sampled_from([b"", b'"', b"\x80"]))
def test_strings_are_skipped_as_the_library_reads_them(body: bytes, behind: bytes) -> None:
    held = Text(body + b'"', behind)
    after, num_chars, bits = skip_string(held.address, held.begin, held.end)
    first = re.match(rb'(?:[^"\\]|\\.)*"', body + b'"', re.DOTALL)
    literal = b'"' + first[0] if first else b""
    if not is_strict(literal):
        assert after == -1
        return
    assert after - held.begin == len(literal) - 2
    text = json.loads(literal)
    assert num_chars == len(text)
    assert bool(bits & HAS_ESCAPE) == (b"\\" in literal)
    assert bool(bits & HAS_CONTROL) == bool(re.search(r"[\x00-\x1f\x7f-\x9f]", text))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=30) | st.text("abc ~!\x1f\x7f\\é", max_size=30).map(str.encode))
def test_plain_strings_end_at_the_first_quote_after_printable_ascii(body: bytes) -> None:
    held = Text(body + b'"', b'""""""""')
    first = re.match(rb'[ !#-\[\]-~]*"', body + b'"')
    expected = held.begin + len(first[0]) - 1 if first else -1
    assert plain_string_end(held.address, held.begin, held.end) == expected


def test_every_byte_in_every_place_of_a_word() -> None:
    for byte in range(256):
        for place in range(20):
            body = b"a" * place + bytes([byte]) + b"a" * (20 - place)
            held = Text(body + b'"')
            is_plain = 0x20 <= byte < 0x7F and byte not in b'"\\'
            expected = len(body) if is_plain else place if byte == 0x22 else -1
            found = plain_string_end(held.address, held.begin, held.end)
            assert (found - held.begin if found >= 0 else -1) == expected


def test_nothing_behind_the_end_is_read() -> None:
    for text, behind in (
        (b'"abc', b'"'),
        (b"nul", b"l"),
        (b"[1", b"]"),
        (b'"\\', b'n"'),
        (b"-", b"1"),
    ):
        assert skipped(text, behind) == -1
    assert skipped(b"12", b"34") == 2


@settings(max_examples=200, deadline=None)
@given(
    st.text("0123456789-+.eE", max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
)
def test_numbers_have_the_grammar_of_json(text: str) -> None:
    held = Text(text.encode())
    after = skip_number(held.address, held.begin, held.end)
    grammar = re.match(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", text)
    whole = grammar is not None and grammar[0] == text
    assert (after == held.end) == whole


def test_space_is_only_the_four_of_json() -> None:
    held = Text(b" \t\r\n\f")
    assert skip_space(held.address, held.begin, held.end) == held.begin + 4
