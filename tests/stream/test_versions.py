import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.versions import erase_version, version_text
from tests.list_versions import Version, parse_version

PARTS = st.tuples(
    st.integers(0, 10**6 - 1),
    st.integers(0, 10**16 - 1),
    st.integers(0, 10**6 - 1),
    st.integers(0, 10**13 - 1),
)


def text(parts: tuple[int, int, int, int]) -> str:
    epoch, next_offset, model_sequence, generated_at_ms = parts
    return version_text(
        epoch=epoch,
        next_offset=next_offset,
        model_sequence=model_sequence,
        generated_at_ms=generated_at_ms,
    )


@given(PARTS, PARTS)
def test_texts_sort_as_the_numbers_do(left, right):
    assert (text(left) < text(right)) == (left < right)


@given(PARTS)
def test_parse_returns_what_was_written(parts):
    assert parse_version(text(parts)) == Version(*parts)


@pytest.mark.parametrize("position, bound", list(enumerate((10**6, 10**16, 10**6, 10**13))))
@pytest.mark.parametrize("is_negative", [False, True])
def test_a_part_that_would_sort_wrongly_is_refused(position, bound, is_negative):
    parts = [0, 0, 0, 0]
    parts[position] = -1 if is_negative else bound
    with pytest.raises(ValueError, match="expected"):
        text(tuple(parts))


def test_erase_blocks_lists_made_before_it_and_lets_those_after_it_pass():
    stone = erase_version(epoch=3, offset=100)
    assert text((3, 100, 999_999, 10**13 - 1)) < stone
    assert text((2, 10**15, 0, 0)) < stone
    assert text((3, 101, 0, 0)) >= stone
    assert text((4, 0, 0, 0)) >= stone
