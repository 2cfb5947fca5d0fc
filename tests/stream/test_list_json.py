import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.candidates import SOURCES, RecommendationBatch
from stream.list_json import encode_lists


def batch_of(lists):
    """Build a batch from lists of (id, score, set of source columns)."""
    items = [item for user in lists for item in user]
    ranks = np.zeros((len(items), len(SOURCES)), np.uint16)
    for row, (_, _, sources) in enumerate(items):
        for source in sources:
            ranks[row, source] = 1 + row % 300
    return RecommendationBatch(
        partition=0,
        next_offset=1,
        user_ids=tuple(b"u%d" % user for user in range(len(lists))),
        user_rows=np.arange(len(lists), dtype=np.int32),
        events_to_ms=np.zeros(len(lists), np.int64),
        now_ms=np.zeros(len(lists), np.int64),
        splits=np.cumsum([0, *map(len, lists)], dtype=np.int64),
        item_ids=tuple(item[0].encode() for item in items),
        item_rows=np.arange(len(items), dtype=np.int32),
        scores=np.array([item[1] for item in items], np.float32),
        ranks=ranks,
        heads=np.zeros((len(items), 0), np.float32),
        model="fusion",
        model_sequence=0,
    )


ITEMS = st.tuples(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sets(st.integers(0, len(SOURCES) - 1)),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(ITEMS, max_size=4), max_size=4))
def test_lists_are_json_with_the_same_ids_scores_and_sources(lists):
    texts, is_valid = encode_lists(batch_of(lists))
    assert is_valid.all()
    assert len(texts) == len(lists)
    for text, expected in zip(texts, lists, strict=True):
        items = json.loads(text)
        assert [item["id"] for item in items] == [item[0] for item in expected]
        assert [item["sources"] for item in items] == [
            [SOURCES[source] for source in sorted(item[2])] for item in expected
        ]
        for item, (_, score, _) in zip(items, expected, strict=True):
            assert item["score"] == pytest.approx(float(np.float32(score)), rel=5.1e-6, abs=0)


@pytest.mark.parametrize(
    "score, text",
    [
        (0.0, b"0"),
        (1.0, b"1"),
        (-2.5, b"-2.5"),
        (0.1, b"0.1"),
        (0.99999994, b"1"),
        (123456.0, b"123456"),
        (1234567.0, b"1.23457e6"),
        (1e20, b"1e20"),
        (1e-9, b"1e-9"),
    ],
)
def test_scores_are_short(score, text):
    texts, _ = encode_lists(batch_of([[("i", score, set())]]))
    assert texts == [b'[{"id":"i","score":%b,"sources":[]}]' % text]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(ITEMS, max_size=4), max_size=4), st.integers(1, 65_535))
def test_explained_lists_are_the_same_lists_with_a_reason_per_source(lists, rank):
    batch = batch_of(lists)
    batch.ranks[batch.ranks > 0] = rank
    plain, _ = encode_lists(batch)
    explained, is_valid = encode_lists(batch, explain=True)
    assert is_valid.all()
    for text, told in zip(plain, explained, strict=True):
        items = json.loads(told)
        for item in items:
            reasons = item.pop("why").split(", ") if item["sources"] else [item.pop("why")]
            assert len(reasons) == max(1, len(item["sources"]))
            assert all(each.endswith(f" (no. {rank})") for each in reasons if each)
        assert items == json.loads(text)


def test_a_reason_is_words_and_the_place_among_a_sources_proposals():
    batch = batch_of([[("i", 1.0, {0, 5})]])
    batch.ranks[0] = [3, 0, 0, 0, 0, 120, 0]
    texts, _ = encode_lists(batch, explain=True)
    assert texts == [
        b'[{"id":"i","score":1,"sources":["cooccurrence","trending"],'
        b'"why":"others often go on to it (no. 3), trending (no. 120)"}]'
    ]


def test_every_source_has_its_words():
    batch = batch_of([[(name, 1.0, {column})] for column, name in enumerate(SOURCES)])
    texts, _ = encode_lists(batch, explain=True)
    words = [json.loads(text)[0]["why"].rpartition(" (no. ")[0] for text in texts]
    assert len(set(words)) == len(SOURCES) and all(words)


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_a_list_with_a_score_that_is_no_number_is_marked_and_its_neighbours_are_not(score):
    good = [("a", 1.0, {0})]
    texts, is_valid = encode_lists(batch_of([good, [("b", 1.0, {0}), ("c", score, {1})], good]))
    assert is_valid.tolist() == [True, False, True]
    assert texts[0] == texts[2]
    assert json.loads(texts[2])[0]["id"] == "a"
