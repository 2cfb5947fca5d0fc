"""Wire logs: lines to values, whatever the pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.decode import decode_events
from stream.wire import MAX_VALUE_BYTES
from stream.wire_log import read_slabs, read_values
from tests.stream.record_builders import GOOD_LIKE, text_of

LINES = st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line), max_size=20)


@given(LINES, st.lists(st.integers(0, 300), max_size=8), st.booleans())
def test_pieces_do_not_matter(lines: list[bytes], cuts: list[int], is_ended: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if is_ended else b"")
    borders = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    pieces = [data[a:b] for a, b in zip(borders, borders[1:], strict=False)]
    expected = [line.removesuffix(b"\r") for line in data.split(b"\n") if line.strip(b" \t\r\n")]
    assert list(read_values(pieces)) == expected
    assert list(read_values([data])) == expected


def test_an_endless_line_is_cut_and_rejected_and_the_next_line_is_read() -> None:
    good = text_of(GOOD_LIKE).encode()
    chunks = [b"x" * 10_000] * 50 + [b"\n" + good]
    values = list(read_values(chunks))
    assert [len(value) for value in values] == [MAX_VALUE_BYTES + 1, len(good)]
    events = decode_events(next(read_slabs(chunks)))
    assert [reject.reason for reject in events.rejected] == ["too_large"]
    assert len(events) == 1


def test_bad_lines_are_rejects_and_offsets_count_lines() -> None:
    good = text_of(GOOD_LIKE).encode()
    slabs = list(read_slabs([good + b"\n\nnot json\n" + good + b"\r\n"], max_records=2))
    assert [(slab.begin, slab.end) for slab in slabs] == [(0, 2), (2, 3)]
    batches = [decode_events(slab) for slab in slabs]
    assert [batch.offsets.tolist() for batch in batches] == [[0], [2]]
    assert [reject.offset for batch in batches for reject in batch.rejected] == [1]
    assert (batches[0].kafka_timestamps_ms == -1).all()


def test_first_offset_and_empty_log() -> None:
    assert list(read_slabs([])) == [] and list(read_slabs([b"\n \n"])) == []
    slab = next(read_slabs([b"{}"], first_offset=40))
    assert slab.offsets.tolist() == [40]
