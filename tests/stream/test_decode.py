"""Three readers, one contract: scanner, msgspec and models agree on every record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stream.decode import compile_kernels, decode_events
from stream.events import Action, EventBatch
from stream.scanner import GOOD, ODD, scan_values
from stream.slab import Slab
from stream.verdicts import Fault, judge
from stream.wire import MAX_DEAD_VALUE_BYTES, Interaction, Reason
from tests.stream import interaction_oracle as oracle
from tests.stream.corpus import cases
from tests.stream.record_builders import GOOD_LIKE, GOOD_WATCH, Case, Raw, text_of, with_field

CASES = cases()
GOOD_CASES = [case for case in CASES if case.expected is None]
# Reasons that only other topics or the router give.
ELSEWHERE = {Reason.TOO_LONG, Reason.KEY_MISMATCH, Reason.MISROUTED, Reason.BAD_FRAME}


def slab_of(chosen: Sequence[Case]) -> Slab:
    times = [case.kafka_timestamp_ms for case in chosen]
    return Slab.from_values([case.value for case in chosen], timestamps_ms=times)


def values_of(events: EventBatch, index: int) -> tuple[object, ...]:
    """Return one event as the oracle shows it, but for the unknown fields."""
    return (
        events.event_id(index),
        Action(int(events.types[index])).name.lower(),
        events.user_id(index),
        events.item_id(index),
        int(events.timestamps_ms[index]),
        int(events.watch_ms[index]),
        int(events.duration_ms[index]),
    )


def verdicts_of(slab: Slab) -> list[object]:
    """Return per record its reason code or its values, as decode_events sees them."""
    events = decode_events(slab)
    found: dict[int, object] = {reject.offset: reject.reason for reject in events.rejected}
    for index, offset in enumerate(events.offsets.tolist()):
        assert offset not in found, "one record is an event and a reject"
        found[offset] = values_of(events, index)
    return [found[offset] for offset in slab.offsets.tolist()]


def expected_of(value: bytes | None, kafka_timestamp_ms: int = -1) -> object:
    read = oracle.read(value, kafka_timestamp_ms)
    return read if isinstance(read, str) else read[:-1]


def statuses_of(values: Sequence[bytes]) -> list[int]:
    slab = Slab.from_values(values)
    columns = scan_values(slab.buffer, slab.value_starts, slab.value_lengths)
    return [int(status) for status in columns.statuses]


def test_corpus_is_wide_and_shows_every_reason() -> None:
    assert len({case.value for case in CASES}) >= 800
    assert len(GOOD_CASES) >= 200
    expected = {case.expected for case in CASES if case.expected}
    assert expected == {reason.value for reason in Reason} - ELSEWHERE


def test_oracle_gives_the_verdicts_written_by_hand() -> None:
    wrong = []
    for case in CASES:
        read = oracle.read(case.value, case.kafka_timestamp_ms)
        if (read if isinstance(read, str) else None) != case.expected:
            wrong.append((case, read))
    assert not wrong


def test_decoder_gives_the_verdicts_written_by_hand_and_the_values_of_the_oracle() -> None:
    verdicts = verdicts_of(slab_of(CASES))
    wrong = [
        (case, verdict)
        for case, verdict in zip(CASES, verdicts, strict=True)
        if verdict != expected_of(case.value, case.kafka_timestamp_ms)
    ]
    assert not wrong


def test_published_model_accepts_what_the_decoder_accepts() -> None:
    """Beyond the model: the size, the future, nesting, and NaN, which pydantic reads as JSON."""
    beyond = {"too_large", "too_deep", "future"}
    for case in CASES:
        if case.value is None or case.expected in beyond or b"N" in case.value:
            continue
        try:
            model = Interaction.model_validate_json(case.value)
        except ValidationError:
            assert case.expected is not None, case
            continue
        except ValueError:  # Not UTF-8.
            assert case.expected == "bad_utf8", case
            continue
        assert case.expected is None or b"Infinity" in case.value, case
        if case.expected is None:
            read = oracle.read(case.value, -1)
            assert (model.event_id, model.type, model.user_id, model.item_id or "") == read[:4]
            assert model.ts == read[4]


def test_judge_alone_gives_the_same_verdicts_reasons_and_values() -> None:
    events = decode_events(slab_of(CASES))
    rejects = {reject.offset: reject for reject in events.rejected}
    for offset, case in enumerate(CASES):
        verdict = judge(case.value, kafka_timestamp_ms=case.kafka_timestamp_ms)
        if isinstance(verdict, Fault):
            assert (rejects[offset].reason, rejects[offset].detail) == verdict
        else:
            assert offset not in rejects


def test_a_record_has_the_same_verdict_alone_and_among_others() -> None:
    together = verdicts_of(slab_of(CASES))
    alone = [verdicts_of(slab_of([case]))[0] for case in CASES]
    assert together == alone


def escape_ids(fields: dict[str, object]) -> bytes:
    """Spell every character of every id as an escape."""
    spelled = dict(fields)
    for name in ("event_id", "user_id", "item_id"):
        if isinstance(fields.get(name), str):
            units = str(fields[name]).encode("utf-16-be")
            pairs = zip(units[::2], units[1::2], strict=True)
            spelled[name] = Raw('"' + "".join(f"\\u{a:02x}{b:02X}" for a, b in pairs) + '"')
    return text_of(spelled).encode()


@pytest.mark.parametrize("path", ["scanner", "msgspec", "models", "mixed"])
def test_every_path_gives_the_same_values(path: str) -> None:
    """The same good records, spelled so that one reader must take them all."""
    # Escapes make a record longer; many unknown fields are the models' anyway.
    small = [case.value for case in GOOD_CASES if case.value and len(case.value) < 8_000]
    records = [fields for fields in map(json.loads, small) if len(fields) <= 12]
    ordinary = [text_of(fields).encode() for fields in records]
    escaped = [escape_ids(fields) for fields in records]
    repeated = [text.replace(b"{", b'{"ts":0,', 1) for text in ordinary]
    spelled = {"scanner": ordinary, "msgspec": escaped, "models": repeated}
    if path == "mixed":
        values = [(ordinary, escaped, repeated)[n % 3][n] for n in range(len(records))]
    else:
        values = spelled[path]
    statuses = statuses_of(values)
    if path == "scanner":
        assert statuses.count(GOOD) > 0.9 * len(statuses)
    if path == "msgspec":
        assert sum(0 < status < ODD for status in statuses) > 0.9 * len(statuses)
    if path == "models":
        assert set(statuses) == {ODD}

    verdicts = verdicts_of(Slab.from_values(values))

    assert verdicts == [expected_of(text) for text in ordinary]


def test_ordinary_records_never_reach_the_slow_readers() -> None:
    ordinary = [
        text_of(GOOD_WATCH).encode(),
        text_of(GOOD_LIKE, space=" ").encode(),
        json.dumps({**GOOD_WATCH, "request_id": "r", "position": 0, "device": None}).encode(),
        with_field("user_id", "用户-😀"),
        with_field("extra", {"a": [1.5, True, None, "ü\n"]}),
        with_field("extra", 1.25),
    ]
    assert statuses_of(ordinary) == [GOOD] * len(ordinary)


def test_unknown_fields_are_counted_once_per_name_on_every_path() -> None:
    spare = {"x": 1, "y": {"x": 2}, "größe": [3]}
    records = [
        text_of({**GOOD_WATCH, "x": 1, "y": {"z": 2}}).encode(),
        escape_ids({**GOOD_WATCH, "x": 1, "y": 2}),
        text_of({**GOOD_WATCH, **spare}).encode(),
        text_of({**GOOD_WATCH, "x": 1}).replace("}", ',"x":2}').encode(),
        text_of({**GOOD_WATCH, "ts": -1, "x": 1}).encode(),
    ]
    counts = [decode_events(Slab.from_values([each])).num_unknown_fields for each in records]
    assert counts == [2, 2, 3, 1, 0]
    assert decode_events(Slab.from_values(records)).num_unknown_fields == 8


def test_neighbours_cannot_complete_each_other() -> None:
    good = escape_ids(GOOD_WATCH)
    halves = [good[:30], good[30:], good + b"," + good, b'"', b'","', good, b"],[", b"\\"]
    events = decode_events(Slab.from_values(halves))
    assert events.offsets.tolist() == [5]
    assert [reject.offset for reject in events.rejected] == [0, 1, 2, 3, 4, 6, 7]


def test_batch_keeps_positions_of_the_log() -> None:
    slab = Slab.from_values([text_of(GOOD_WATCH).encode(), b"bad", escape_ids(GOOD_LIKE)])
    slab = replace(
        slab,
        partition=3,
        begin=90,
        end=200,
        offsets=np.array([100, 105, 190]),
        header_starts=np.array([-1, 5, 7]),
        timestamps_ms=np.array([1_700_000_000_000, 1, 1_700_000_000_001]),
    )
    events = decode_events(slab)
    assert (events.partition, events.begin, events.end) == (3, 90, 200)
    assert events.offsets.tolist() == [100, 190]
    assert events.header_starts.tolist() == [-1, 7]
    assert events.kafka_timestamps_ms.tolist() == [1_700_000_000_000, 1_700_000_000_001]
    assert [reject.offset for reject in events.rejected] == [105]


def test_columns_have_the_types_that_the_batch_promises() -> None:
    for values in ([], [None], [text_of(GOOD_WATCH).encode()], [b"x", escape_ids(GOOD_LIKE)]):
        events = decode_events(Slab.from_values(values))
        assert events.buffer.dtype == np.uint8
        assert events.types.dtype == np.uint8
        for name in ("offsets", "kafka_timestamps_ms", "timestamps_ms", "watch_ms", "duration_ms",
                     "user_starts", "item_starts", "event_id_starts", "header_starts"):  # fmt: skip
            assert getattr(events, name).dtype == np.int64, name
            assert len(getattr(events, name)) == len(events), name
        for name in ("user_lengths", "item_lengths", "event_id_lengths"):
            assert getattr(events, name).dtype == np.int32, name
            assert getattr(events, name).flags["C_CONTIGUOUS"], name


def test_buffer_is_the_slabs_own_unless_ids_were_decoded() -> None:
    plain = Slab.from_values([text_of(GOOD_WATCH).encode()])
    assert decode_events(plain).buffer is plain.buffer
    escaped = Slab.from_values([escape_ids(GOOD_WATCH)])
    before = escaped.buffer.copy()
    assert not np.shares_memory(decode_events(escaped).buffer, escaped.buffer)
    assert (escaped.buffer == before).all()


def test_rejected_values_are_cut() -> None:
    events = decode_events(Slab.from_values([b"x" * 50_000, b"short", None]))
    lengths = [None if each.value is None else len(each.value) for each in events.rejected]
    assert lengths == [MAX_DEAD_VALUE_BYTES, 5, None]


def test_read_only_and_writable_buffers_decode_alike() -> None:
    slab = slab_of(CASES)
    assert verdicts_of(slab) == verdicts_of(replace(slab, buffer=slab.buffer.copy()))


def test_compile_kernels_leaves_nothing_to_compile() -> None:
    from stream import scanner

    compile_kernels()
    before = len(scanner._scan.signatures)
    verdicts_of(slab_of(CASES[:20]))
    assert len(scanner._scan.signatures) == before


# What a mutation likes to insert: the bytes that mean something.
TOKENS = st.sampled_from(
    [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b"\0", b"\x7f", b"\x80", b"\xc3"]
    + [b"0", b"9", b"-", b".", b"e", b"1" * 20, b"null", b"NaN", b"true", b"\\u0000", b"\\ud83d"]
    + [b"\\ude00", b'"ts":1', b'"type":"like"', b',"x":[{}]', "é".encode(), "\u0085".encode()]
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A record of the corpus with a few bytes taken out, put in, doubled or changed."""
    small = [case.value for case in CASES if case.value and len(case.value) < 400]
    value = bytearray(draw(st.sampled_from(small)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(value)))
        length = draw(st.integers(0, 4))
        insert = draw(st.one_of(TOKENS, st.binary(max_size=2), st.just(bytes(value[at : at + 12]))))
        value[at : at + length] = insert
    return bytes(value)


@settings(max_examples=150, deadline=None)
@given(st.lists(mutated(), min_size=1, max_size=12))
def test_mutated_records_have_the_oracles_verdict(values: list[bytes]) -> None:
    assert verdicts_of(Slab.from_values(values)) == [expected_of(value) for value in values]


IDS = st.one_of(
    st.text(min_size=1, max_size=66),
    st.text(alphabet="abc-_1", min_size=1, max_size=12),
    st.just(5),
    st.none(),
)
NUMBERS = st.one_of(
    st.integers(0, 10**13),
    st.integers(),
    st.floats(),
    st.none(),
    st.booleans(),
    st.text(max_size=3),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
RECORDS = st.fixed_dictionaries(
    {"event_id": IDS, "user_id": IDS, "type": st.sampled_from([*oracle.TYPES, "view"])},
    optional={
        "item_id": IDS,
        "ts": NUMBERS,
        "watch_ms": NUMBERS,
        "duration_ms": NUMBERS,
        "position": NUMBERS,
        "request_id": ANYTHING,
        "device": ANYTHING,
        "extra": ANYTHING,
        "größe": ANYTHING,
    },
)
GOOD_IDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('"\\/😀'),
    min_size=1,
    max_size=64,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(RECORDS, max_size=8), st.booleans(), st.sampled_from([None, 1]))
def test_generated_records_have_the_oracles_verdict(
    records: list[dict[str, object]], ascii_only: bool, indent: int | None
) -> None:
    texts = [json.dumps(each, ensure_ascii=ascii_only, indent=indent) for each in records]
    values = [text.encode("utf-8", "surrogatepass") for text in texts]
    assert verdicts_of(Slab.from_values(values)) == [expected_of(value) for value in values]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(GOOD_IDS, GOOD_IDS, GOOD_IDS, st.integers(0, 4_102_444_799_999)), max_size=8
    ),
    st.booleans(),
    st.integers(0, 4_102_444_799_999),
)
def test_good_records_of_any_spelling_keep_their_values(
    drawn: list[tuple[str, str, str, int]], ascii_only: bool, kafka_timestamp_ms: int
) -> None:
    fields = [
        {**GOOD_WATCH, "event_id": event, "user_id": user, "item_id": item, "ts": ts}
        for event, user, item, ts in drawn
    ]
    values = [json.dumps(each, ensure_ascii=ascii_only).encode() for each in fields]
    slab = Slab.from_values(values, timestamps_ms=[kafka_timestamp_ms] * len(values))
    assert verdicts_of(slab) == [expected_of(value, kafka_timestamp_ms) for value in values]
    assert not any(
        verdict in ("bad_id", "bad_json") for verdict in verdicts_of(Slab.from_values(values))
    )
