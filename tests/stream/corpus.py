"""Hand-made records of ``interactions``, good and bad, with the verdict a person gives them.

Each case is ``(name, value, kafka_timestamp_ms, expected)``: the expected reason code, or None for
a good record. Verdicts stand here by hand, so that all decoders agreeing on nonsense would show.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.stream import corpus_fields
from tests.stream.record_builders import (
    DAY_MS,
    GOOD_LIKE,
    GOOD_WATCH,
    Case,
    Made,
    Raw,
    text_of,
    with_field,
    without,
)


def _whole_values() -> Made:
    good = text_of(GOOD_WATCH)
    yield "null value", None, "null_value"
    yield "no bytes", b"", "empty_value"
    for name, text in {
        "white space": "   ",
        "a word": "hello",
        "a number and more": "1 2",
        "half an object": good[:40],
        "all but the brace": good[:-1],
        "two objects": good + good,
        "two with a comma": good + "," + good,
        "two lines": good + "\n" + good,
        "a comma behind": good + ",",
        "a brace behind": good + "}",
        "a nul behind": good + "\0",
        "a nul before": "\0" + good,
        "a brace before": "{" + good,
        "single quotes": good.replace('"', "'"),
        "names without quotes": good.replace('"', ""),
        "a comment": good + "// x",
        "a comment inside": good.replace(":", "/* x */:", 1),
        "last comma": good[:-1] + ",}",
        "first comma": "{," + good[1:],
        "double comma": good.replace(",", ",,", 1),
        "missing colon": good.replace(":", " ", 1),
        "double colon": good.replace(":", "::", 1),
        "equals": good.replace(":", "=", 1),
        "semicolons": good.replace(",", ";"),
        "open string": good[:-1] + ',"x":"abc}',
        "open array": good[:-1] + ',"x":[1,2}',
        "wrong closing": good[:-1] + ',"x":[1,2}}',
        "square record": "[" + good[1:-1] + "]",
        "form feed": "\f" + good,
        "no-break space": "\u00a0" + good,
        "line separator": good + "\u2028",
        "bom": "\ufeff" + good,
        "python repr": str(GOOD_WATCH),
        "csv": "e-1,watch,u-1,i-1,1700000000000",
        "xml": "<event/>",
        "number key": good[:-1] + ",1:2}",
        "null key": good[:-1] + ",null:2}",
        "key alone": good[:-1] + ',"x"}',
        "value alone": good[:-1] + ",5}",
    }.items():
        yield name, text.encode(), "bad_json"
    for name, text in {
        "array": "[]",
        "array of one": "[" + good + "]",
        "string": '"abc"',
        "quoted record": json.dumps(good),
        "number": "17",
        "real": "1.5",
        "true": "true",
        "false": " false",
        "null": "null",
        "array deep enough": "[" * 32 + "]" * 32,
    }.items():
        yield name, text.encode(), "not_an_object"
    yield "empty object", b"{}", "missing_field"
    yield "empty object, spaces", b" { } ", "missing_field"
    yield "latin-1", with_field("user_id", "u").replace(b'"u"', b'"\xe9"'), "bad_utf8"
    yield "utf-16", good.encode("utf-16"), "bad_utf8"
    yield "utf-16 without a mark", good.encode("utf-16-le"), "bad_json"
    yield "utf-32", good.encode("utf-32-be"), "bad_json"
    yield "gzip magic", b"\x1f\x8b\x08\x00" + b"\xff" * 9, "bad_utf8"
    yield "all bytes", bytes(range(256)), "bad_utf8"
    yield "exactly 16 KiB", _padded(16 * 1024), None
    yield "16 KiB and a byte", _padded(16 * 1024 + 1), "too_large"
    yield "large and no JSON", b"x" * 20_000, "too_large"
    yield "large and no UTF-8", b"\xff" * 20_000, "too_large"
    yield "a megabyte", _padded(1 << 20), "too_large"
    yield "large white space", b" " * 16 * 1024, "bad_json"


def _padded(size: int) -> bytes:
    record = with_field("padding", "")
    return record.replace(b'"padding":""', b'"padding":"%s"' % (b"x" * (size - len(record))))


def _shapes() -> Made:
    good = text_of(GOOD_WATCH)
    yield "watch", good.encode(), None
    yield "like", text_of(GOOD_LIKE).encode(), None
    for action in ("comment", "share", "not_interested", "follow", "unlike", "erase"):
        yield action, with_field("type", action, GOOD_LIKE), None
    yield "erase without item", without("item_id", fields={**GOOD_LIKE, "type": "erase"}), None
    yield "erase of null", with_field("item_id", None, {**GOOD_LIKE, "type": "erase"}), None
    yield "erase of nothing", with_field("item_id", "", {**GOOD_LIKE, "type": "erase"}), "bad_id"
    yield "spaces", text_of(GOOD_WATCH, space=" ").encode(), None
    yield "tabs", text_of(GOOD_WATCH, space="\t").encode(), None
    yield "lines", text_of(GOOD_WATCH, space="\r\n").encode(), None
    yield "around", f" \n{good}\t\r".encode(), None
    yield "reversed", text_of(dict(reversed(GOOD_WATCH.items()))).encode(), None
    yield "python's json.dumps", json.dumps(GOOD_WATCH).encode(), None
    yield "indented", json.dumps(GOOD_WATCH, indent=2).encode(), None
    for name in ("event_id", "type", "user_id", "item_id", "ts", "watch_ms", "duration_ms"):
        yield f"without {name}", without(name), "missing_field"
        expected = "wrong_type" if name in ("event_id", "type", "user_id", "ts") else None
        yield f"null {name}", with_field(name, None), expected or "missing_field"
    yield "like with null times", with_field("watch_ms", None, GOOD_LIKE), None
    yield "like with times", text_of({**GOOD_WATCH, "type": "like"}).encode(), None
    yield "like without length", with_field("duration_ms", 0, GOOD_LIKE), None
    yield "upper case name", without("ts").replace(b"}", b',"TS":5}'), "missing_field"
    yield (
        "every field",
        text_of({**GOOD_WATCH, "request_id": "r", "position": 3, "device": "phone"}).encode(),
        None,
    )
    yield (
        "optional nulls",
        text_of({**GOOD_WATCH, "request_id": None, "position": None, "device": None}).encode(),
        None,
    )


def _priorities() -> Made:
    bad = {"event_id": "", "type": "x", "user_id": 5, "item_id": None, "ts": -1}
    yield "all fields bad: the first", text_of(bad).encode(), "bad_id"
    yield "then the type", text_of({**bad, "event_id": "e"}).encode(), "unknown_type"
    yield "then the user", text_of({**bad, "event_id": "e", "type": "like"}).encode(), "wrong_type"
    yield "order in the record is nothing", text_of(dict(reversed(bad.items()))).encode(), "bad_id"
    late = {**GOOD_WATCH, "ts": -1}
    del late["user_id"]
    yield "missing before later range", text_of(late).encode(), "missing_field"
    yield (
        "fields before rules",
        text_of({**GOOD_LIKE, "type": "watch", "position": -1}).encode(),
        ("out_of_range"),
    )
    yield (
        "item before times",
        text_of(
            {"event_id": "e", "type": "watch", "user_id": "u", "ts": 1, "duration_ms": 0}
        ).encode(),
        "missing_field",
    )
    yield "syntax before fields", text_of(bad).encode() + b"]", "bad_json"
    yield "utf-8 before syntax", b"{\xff", "bad_utf8"
    yield "utf-8 before depth", b"[" * 99 + b"\xff", "bad_utf8"
    yield "depth before syntax", b"[" * 99 + b"x", "too_deep"


def _times() -> Iterator[Case]:
    now = 1_700_000_000_000
    for name, ts, kafka, expected in (
        ("now", now, now, None),
        ("5 min ahead", now + 300_000, now, None),
        ("5 min and 1 ms ahead", now + 300_001, now, "future"),
        ("a year ahead", now + 365 * DAY_MS, now, "future"),
        ("a year ago", now - 365 * DAY_MS, now, None),
        ("1970", 0, now, None),
        ("unknown Kafka time", now + 365 * DAY_MS, -1, None),
        ("Kafka time 0", 300_001, 0, "future"),
        ("Kafka time 0, in time", 300_000, 0, None),
        ("2100 and unknown", 4_102_444_800_000, -1, "out_of_range"),
        ("2100 and known", 4_102_444_800_000, now, "out_of_range"),
    ):
        yield Case(f"time: {name}", with_field("ts", ts), kafka, expected)
        escaped = with_field("ts", ts, {**GOOD_WATCH, "user_id": Raw('"\\u00fc"')})
        yield Case(f"time, escaped: {name}", escaped, kafka, expected)
        odd = with_field("ts", ts).replace(b"{", b'{"ts":1,')
        yield Case(f"time, odd: {name}", odd, kafka, expected)
    yield Case("future and no item", without("item_id"), 0, "missing_field")


def cases() -> list[Case]:
    """Return every case; names are unique."""
    makers = (
        _whole_values,
        _shapes,
        corpus_fields.types,
        corpus_fields.numbers,
        corpus_fields.ids,
        corpus_fields.unknown_fields,
        corpus_fields.repeated_names,
        _priorities,
    )
    listed = [
        Case(name, value, -1, expected) for make in makers for name, value, expected in make()
    ]
    return listed + list(_times())
