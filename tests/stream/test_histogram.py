import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.histogram import _NUM_BUCKETS, _TOPS_MS, DurationHistogram, _buckets_of

VALUES = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=50)


def histogram_of(values):
    histogram = DurationHistogram()
    histogram.record(np.array(values, np.int64))
    return histogram


def test_every_bucket_ends_at_its_top():
    assert (_buckets_of(_TOPS_MS) == np.arange(_NUM_BUCKETS)).all()
    assert (_buckets_of(_TOPS_MS[:-1] + 1) == np.arange(1, _NUM_BUCKETS)).all()
    assert _TOPS_MS[-1] == 2**31 - 1


@given(VALUES, st.floats(0, 1))
def test_a_percentile_is_at_most_one_percent_too_high(values, share):
    exact = sorted(values)[max(int(np.ceil(share * len(values))), 1) - 1]
    assert exact <= histogram_of(values).percentile_ms(share) <= exact * 1.008


@given(VALUES, VALUES)
def test_adding_equals_recording_everything(left, right):
    total = histogram_of(left)
    total.add(histogram_of(right))
    both = histogram_of(left + right)
    assert (total.count, total.sum_ms, total.max_ms) == (both.count, both.sum_ms, both.max_ms)
    assert total.percentile_ms(0.9) == both.percentile_ms(0.9)


@given(VALUES)
def test_cumulative_counts_are_exact_at_bucket_tops(values):
    bounds = np.array([0, 10, 255, 511, 2**31 - 1])
    expected = [sum(value <= bound for value in values) for bound in bounds]
    assert histogram_of(values).cumulative(bounds).tolist() == expected


def test_clocks_that_differ_and_absurd_ages_stay_in_bounds():
    histogram = histogram_of([-5, 2**40])
    assert histogram.percentile_ms(0.5) == 0
    assert histogram.max_ms == 2**31 - 1


def test_an_empty_histogram_says_zero():
    assert DurationHistogram().percentile_ms(0.99) == 0
    assert DurationHistogram().cumulative(np.array([100])).tolist() == [0]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_any_integer_type_is_taken(dtype):
    histogram = DurationHistogram()
    histogram.record(np.array([1, 2, 3], dtype))
    assert histogram.count == 3
