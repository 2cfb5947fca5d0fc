"""The snapshot codec: what goes in comes out, and nothing broken does."""

import struct
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from state import snapshot
from state.snapshot import SnapshotInvalid, SnapshotSchema, decode, encode

DTYPES = st.sampled_from(
    ["bool", "uint8", "int8", "uint16", "int32", "int64", "uint64", "float32", "float64", ">i8"]
)
ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=12),
    DTYPES.flatmap(
        lambda dtype: hn.arrays(dtype, hn.array_shapes(min_dims=0, max_dims=3, min_side=0))
    ),
    max_size=6,
)
SMALL = {"a": np.arange(5), "b": np.zeros((0, 7), np.float32), "c": np.array([[1.5]])}


def bytes_of(arrays: dict, meta: dict) -> bytes:
    return b"".join(encode(arrays, meta))


@given(arrays=ARRAYS, meta=st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
@settings(deadline=None, max_examples=100)
def test_what_goes_in_comes_out(arrays: dict, meta: dict) -> None:
    again, facts = decode(bytes_of(arrays, meta))

    assert facts == meta
    assert [*again] == [*arrays]
    for name, array in arrays.items():
        assert again[name].dtype == array.dtype.newbyteorder("<")
        np.testing.assert_array_equal(again[name], array)
        assert again[name].shape == array.shape


def test_a_sliced_array_is_written_as_it_reads() -> None:
    array = np.arange(20).reshape(4, 5)[::2, 1:4]

    assert decode(bytes_of({"x": array}, {}))[0]["x"].tolist() == array.tolist()


def test_contiguous_arrays_are_not_copied() -> None:
    array = np.zeros(1000)
    pieces = encode({"x": array}, {})

    assert any(np.shares_memory(np.frombuffer(p, np.uint8), array) for p in pieces if len(p) > 999)


def test_every_flipped_bit_and_every_cut_is_found() -> None:
    data = bytes_of(SMALL, {"next_offset": 7})
    decode(data)
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 1 << position % 8
        with pytest.raises(SnapshotInvalid):
            decode(bytes(broken))
        with pytest.raises(SnapshotInvalid):
            decode(data[:position])


def of_version(version: int, monkeypatch: pytest.MonkeyPatch) -> bytes:
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "SCHEMA_VERSION", version)
        return bytes_of(SMALL, {"next_offset": 7})


@pytest.mark.parametrize("version", [0, 3, 99])
def test_another_schema_version_is_refused_by_name(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SnapshotSchema, match=f"version 1 or 2, found {version}"):
        decode(of_version(version, monkeypatch))


def test_a_flipped_bit_in_the_version_is_damage_and_no_other_version() -> None:
    data = bytearray(bytes_of(SMALL, {}))
    for bit in range(8):
        data[8] ^= 1 << bit
        with pytest.raises(SnapshotInvalid, match="checksum"):
            decode(bytes(data))
        data[8] ^= 1 << bit


def test_the_first_version_had_another_checksum_and_is_read() -> None:
    now = bytes_of(SMALL, {"next_offset": 7})
    body = now[:8] + struct.pack("<I", 1) + now[12:-16]
    first = body + blake2b(body, digest_size=32).digest()

    arrays, meta = decode(first)

    assert meta == {"next_offset": 7}
    for name, array in SMALL.items():
        np.testing.assert_array_equal(arrays[name], array)
    for position in range(0, len(first), 7):
        broken = bytearray(first)
        broken[position] ^= 1 << position % 8
        with pytest.raises(SnapshotInvalid):
            decode(bytes(broken))


def test_older_versions_migrate_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    old = of_version(2, monkeypatch)
    monkeypatch.setattr(snapshot, "SCHEMA_VERSION", 4)
    monkeypatch.setitem(snapshot.MIGRATIONS, 3, lambda arrays, meta: (arrays, {**meta, "to": 4}))
    with pytest.raises(SnapshotSchema, match="version 1 or 3 or 4, found 2"):
        decode(old)
    monkeypatch.setitem(
        snapshot.MIGRATIONS, 2, lambda arrays, meta: ({**arrays, "new": arrays["a"] + 1}, meta)
    )
    arrays, meta = decode(old)
    np.testing.assert_array_equal(arrays["new"], SMALL["a"] + 1)
    assert meta == {"next_offset": 7, "to": 4}


def test_objects_are_refused() -> None:
    with pytest.raises(TypeError, match="plain numbers"):
        encode({"x": np.array([None])}, {})
