"""The part of the corpus about single fields: types, numbers, ids, unknown and repeated names.

Dense on purpose: one line holds many cases.
"""

from __future__ import annotations

from tests.stream.record_builders import GOOD_WATCH, Made, Raw, text_of, with_field, without


def types() -> Made:
    for word in (
        "Watch",
        "WATCH",
        "view",
        "",
        " watch",
        "watch ",
        "likes",
        "lik",
        "not-interested",
        "watchwatchwatchwatch",
        "null",
        "0",
        "wätch",
        "not_interestedx",
        "like\u0000",
    ):
        yield f"type {word!r}", text_of({**GOOD_WATCH, "type": word}).encode(), "unknown_type"
    for value in (0, 1.5, True, [], {}, ["watch"], {"name": "watch"}):
        yield f"type {value!r}", with_field("type", value), "wrong_type"
    yield "escaped type", with_field("type", Raw('"\\u0077atch"')), None
    yield "escaped unknown type", with_field("type", Raw('"\\u0077at"')), "unknown_type"


def numbers() -> Made:
    bounds = {
        "ts": 4_102_444_799_999,
        "watch_ms": 604_800_000,
        "duration_ms": 604_800_000,
        "position": 1_000_000,
    }
    for name, largest in bounds.items():
        for value in (largest, 1):
            yield f"{name} {value}", with_field(name, value), None
        for value in (
            largest + 1,
            -1,
            -largest,
            10**15,
            10**16,
            2**31 * 10**6,
            2**53 * 100,
            2**63,
            2**64,
            2**64 + 5,
            10**40,
            -(2**63),
            10**4000,
        ):
            yield (
                f"{name} {value:.3g}" if value < 10**99 else f"{name} huge",
                with_field(name, Raw(f"1{'0' * 4000}") if value > 10**99 else value),
                "out_of_range",
            )
        for text in (
            "1.0",
            "1.5",
            "0.0",
            "-0.0",
            "1e3",
            "1E3",
            "10e-1",
            "1e999",
            "-1e999",
            "true",
            "false",
            '"5"',
            '""',
            "[]",
            "[5]",
            "{}",
            '"NaN"',
            "1e0",
        ):
            yield f"{name} {text}", with_field(name, Raw(text)), "wrong_type"
        for text in (
            "NaN",
            "-NaN",
            "Infinity",
            "-Infinity",
            "nan",
            "inf",
            "+5",
            "05",
            "00",
            "-05",
            "0x10",
            "1_000",
            "1,000",
            "5.",
            ".5",
            "5e",
            "5e+",
            "--5",
            "-",
            "- 5",
            "5 5",
            "1" * 5000,
            "٣",
            "５",
            "5ms",
            "1n",
            "True",
            "None",
            "undefined",
            "",
        ):
            shown = text if len(text) < 20 else "5000 digits"
            yield f"{name} {shown}", with_field(name, Raw(text)), "bad_json"
    for name in ("ts", "watch_ms", "position"):
        yield f"{name} 0", with_field(name, 0), None
        yield f"{name} -0", with_field(name, Raw("-0")), None
    yield "duration_ms 0", with_field("duration_ms", 0), "out_of_range"
    yield "duration_ms -0", with_field("duration_ms", Raw("-0")), "out_of_range"
    yield "loops", with_field("watch_ms", 90_000), None
    yield "ts in s", with_field("ts", 1_700_000_000), None
    yield "ts in us", with_field("ts", 1_700_000_000_000_000), "out_of_range"
    yield "ts in ns", with_field("ts", 1_700_000_000_000_000_000), "out_of_range"
    yield "ts as text", with_field("ts", "2024-01-01T00:00:00Z"), "wrong_type"


def ids() -> Made:
    for name in ("event_id", "user_id", "item_id"):
        for label, text in {
            "one": "x",
            "64": "x" * 64,
            "punctuation": "!#$%&'()*+,-./:;<=>?@[]^_`{|}~",
            "space": "a b",
            "only a space": " ",
            "umlaut": "ü",
            "64 umlauts": "ü" * 64,
            "emoji": "😀",
            "63 emoji and a letter": "😀" * 63 + "a",
            "han": "用户",
            "combining": "e\u0301",
            "rtl": "\u202eabc",
            "separator": "a\u2028b",
            "no-break space": "\u00a0",
            "first above C1": "\u00a0\u00a1",
            "last": "\U0010ffff",
            "nonchar": "\ufffe",
            "replacement": "\ufffd",
            "number-like": "12345",
            "null-like": "null",
            "7e": "~",
            "slash": "a/b",
            "hash tag": "{u}",
            "zero width": "\u200b",
        }.items():
            yield f"{name}: {label}", with_field(name, text), None
        for label, literal in {
            "escaped umlaut": '"\\u00fc"',
            "escaped upper hex": '"\\u00FC"',
            "pair": '"\\ud83d\\ude00"',
            "escaped ascii": '"\\u0061b"',
            "quote": '"a\\"b"',
            "backslash": '"a\\\\b"',
            "solidus": '"a\\/b"',
            "64 escapes": '"' + "\\u00fc" * 64 + '"',
            "63 pairs and a letter": '"' + "\\ud83d\\ude00" * 63 + 'a"',
            "mixed": '"ü\\u00fc😀"',
            "escaped tilde": '"\\u007e"',
            "escaped a0": '"\\u00a0"',
            "escaped bom": '"\\ufeff"',
        }.items():
            yield f"{name}: {label}", with_field(name, Raw(literal)), None
        for label, literal in {
            "empty": '""',
            "65": '"' + "x" * 65 + '"',
            "65 umlauts": '"' + "ü" * 65 + '"',
            "65 emoji": '"' + "😀" * 65 + '"',
            "64 emoji, 256 bytes": '"' + "😀" * 64 + '"',
            "64 pairs, 256 bytes": '"' + "\\ud83d\\ude00" * 64 + '"',
            "65 escapes": '"' + "\\u00fc" * 65 + '"',
            "65 pairs": '"' + "\\ud83d\\ude00" * 65 + '"',
            "thousand": '"' + "x" * 1000 + '"',
            "escaped nul": '"\\u0000"',
            "newline": '"a\\nb"',
            "last newline": '"a\\n"',
            "tab": '"\\t"',
            "backspace": '"\\b"',
            "form feed": '"\\f"',
            "return": '"\\r"',
            "escaped 1f": '"\\u001f"',
            "delete": '"a\x7f"',
            "escaped delete": '"\\u007f"',
            "c1": '"\u0080"',
            "nel": '"a\u0085"',
            "last c1": '"\u009f"',
            "escaped c1": '"\\u0085"',
        }.items():
            yield f"{name}: {label}", with_field(name, Raw(literal)), "bad_id"
        for label, literal in {
            "lone lead": '"\\ud800"',
            "lone trail": '"\\udc00"',
            "swapped": '"\\udc00\\ud800"',
            "lead and above": '"\\ud83d\\ue000"',
            "lead and below": '"\\ud83d\\udbff"',
            "lead at end": '"abc\\ud83d"',
            "lead and u": '"\\ud83du1234"',
            "lead and backslash": '"\\ud83d\\\\"',
            "lead and text": '"\\ud83dabcdef"',
            "two leads": '"\\ud83d\\ud83d"',
            "lead and escape": '"\\ud83d\\n"',
            "raw newline": '"a\nb"',
            "raw tab": '"a\tb"',
            "raw nul": '"\0"',
            "raw 1f": '"\x1f"',
            "unknown escape": '"\\x41"',
            "capital u": '"\\U0041"',
            "short hex": '"\\u12"',
            "bad hex": '"\\u12g4"',
            "escaped quote at end": '"abc\\"',
            "lone backslash": '"\\"',
            "spaced hex": '"\\u 041"',
            "signed hex": '"\\u+041"',
            "single quotes": "'abc'",
            "no quotes": "abc",
            "two strings": '"a" "b"',
        }.items():
            yield f"{name}: {label}", with_field(name, Raw(literal)), "bad_json"
        for label, value in {
            "int": 5,
            "float": 1.5,
            "true": True,
            "list": ["x"],
            "object": {},
        }.items():
            yield f"{name}: {label}", with_field(name, value), "wrong_type"
        for label, octets in {
            "overlong slash": b"\xc0\xaf",
            "overlong nul": b"\xe0\x80\x80",
            "cesu": b"\xed\xa0\xbd",
            "lone continuation": b"\x80",
            "cut sequence": b"\xe2\x82",
            "above unicode": b"\xf4\x90\x80\x80",
            "five bytes": b"\xf8\x88\x80\x80\x80",
            "ff": b"\xff",
            "cut at quote": b"\xc3",
            "overlong four": b"\xf0\x80\x80\x80",
        }.items():
            value = with_field(name, "@@").replace(b"@@", octets)
            yield f"{name}: {label}", value, "bad_utf8"
    for name in ("request_id", "device"):
        for label, literal in {
            "empty": '""',
            "long": '"' + "x" * 5000 + '"',
            "control": '"\\u0000\\n"',
            "emoji": '"😀"',
            "delete": '"\x7f"',
            "escapes": '"\\"\\\\"',
        }.items():
            yield f"{name}: {label}", with_field(name, Raw(literal)), None
        for value in (5, True, [], {}, 1.0):
            yield f"{name}: {value!r}", with_field(name, value), "wrong_type"
        yield f"{name}: lone surrogate", with_field(name, Raw('"\\ud800"')), "bad_json"
        yield f"{name}: bad utf-8", with_field(name, "@").replace(b"@", b"\xfe"), "bad_utf8"


def unknown_fields() -> Made:
    for text in (
        "0",
        "-1",
        "1.5",
        "1e5",
        "-0.0",
        "1E-7",
        "1e999",
        "true",
        "false",
        "null",
        '""',
        '"text"',
        '"ü"',
        '"\\ud83d\\ude00"',
        '"\\n"',
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[1,2,3]",
        '{"a":1}',
        '[{"a":[{}]},[],""]',
        '{"ts":5,"ts":6}',
        "[" * 31 + "]" * 31,
        '{"a":' * 31 + "1" + "}" * 31,
        "9" * 300,
        "0." + "3" * 300,
        "[[1],[2,[3]],4]",
        '[null,true,false,"a",1.5e-3,{}]',
    ):
        shown = text if len(text) < 30 else f"{text[:10]} of {len(text)}"
        yield f"unknown {shown}", with_field("extra", Raw(text)), None
    for text in (
        "NaN",
        "Infinity",
        "-Infinity",
        "01",
        "1.",
        ".1",
        "1e",
        "+1",
        "tru",
        "nul",
        "TRUE",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[",
        "{",
        "]",
        '{"a"}',
        '{"a":}',
        '{"a":1,}',
        "{1:2}",
        "{a:1}",
        '"\\ud800"',
        '"\\q"',
        '"\t"',
        "'x'",
        "[1}",
        '{"a":1]',
        "[}",
        "1 1",
        "truefalse",
        '{"a":1 "b":2}',
        "{,}",
        "[[]",
        "9" * 5000,
        "\ufeff1",
        "nullnull",
        "[NaN]",
    ):
        shown = text if len(text) < 30 else f"{text[:10]} of {len(text)}"
        yield f"unknown {shown}", with_field("extra", Raw(text)), "bad_json"
    yield "32 levels inside", with_field("extra", Raw("[" * 32 + "]" * 32)), "too_deep"
    yield "objects too deep", with_field("extra", Raw('{"a":' * 32 + "1" + "}" * 32)), "too_deep"
    yield "never closed", with_field("extra", Raw("[" * 5000)), "too_deep"
    yield "only brackets", b"[" * 16_000, "too_deep"
    yield "only braces", b'{"a":' * 3_000, "too_deep"
    yield "closed and deep", b"[" * 8_000 + b"]" * 8_000, "too_deep"
    yield "33 arrays", b"[" * 33 + b"]" * 33, "too_deep"
    yield "brackets in a string", with_field("extra", "[" * 100 + "{" * 100), None
    yield "escaped quotes, brackets", with_field("extra", Raw('"\\"' + "[" * 99 + '\\""')), None
    yield "many of one level", with_field("extra", [[]] * 500), None
    yield "forty fields", text_of({**GOOD_WATCH, **{f"f{n}": n for n in range(40)}}).encode(), None
    yield "empty name", with_field("", 1), None
    yield "name with escapes", without().replace(b"}", b',"\\u00fc":1}'), None
    yield "wide name", with_field("größe", 1), None
    yield "long name", with_field("n" * 500, 1), None
    yield "known name with a nul", without().replace(b"}", b',"ts\\u0000":-5}'), None
    yield "proto", with_field("__proto__", {"ts": -1}), None
    yield "bad name", without().replace(b"}", b',"\\ud800":1}'), "bad_json"
    yield "raw control in a name", without().replace(b"}", b',"a\x01":1}'), "bad_json"


def repeated_names() -> Made:
    record = without().decode()
    for name, tail, expected in (
        ("same value", '"ts":1700000000000', None),
        ("last is good", '"ts":5', None),
        ("last is bad", '"ts":-5', "out_of_range"),
        ("last is null", '"ts":null', "wrong_type"),
        ("other user", '"user_id":"u-2"', None),
        ("other type", '"type":"like"', None),
        ("last type unknown", '"type":"x"', "unknown_type"),
        ("item taken away", '"item_id":null', "missing_field"),
        ("escaped name", '"\\u0074s":7', None),
        ("escaped name, bad", '"\\u0074s":true', "wrong_type"),
        ("thrice", '"ts":1,"ts":2,"ts":3', None),
    ):
        yield f"repeated: {name}", f"{record[:-1]},{tail}}}".encode(), expected
    for name, head in (("bad first", '"ts":"x"'), ("negative first", '"watch_ms":-1')):
        yield f"repeated: {name}", f"{{{head},{record[1:]}".encode(), None
    yield "repeated unknown", f'{record[:-1]},"x":1,"y":2,"x":3}}'.encode(), None
    yield "escaped ts alone", record.replace('"ts"', '"\\u0074\\u0073"').encode(), None
