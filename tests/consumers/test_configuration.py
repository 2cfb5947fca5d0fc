"""Settings become arguments; what cannot work is one clear line."""

import pytest

from consumers.configuration import (
    differing,
    load_settings,
    make_engine,
    make_fusion,
    make_pipeline,
    retrieval_limits,
)
from stream.candidates import SOURCES
from stream.errors import ConfigurationError


def test_defaults_make_an_engine_a_pipeline_and_a_ranker():
    settings = load_settings()
    make_pipeline(settings, make_engine(settings, partitions=2))
    assert make_fusion(settings).k == settings.ranking.fusion_k
    assert len(settings.ranking.fusion_weights) == len(SOURCES)
    assert differing(settings) == {}


def test_weights_of_fusion_are_one_per_source_or_none():
    make_fusion(load_settings(["ranking.fusion_weights=[]"]))
    with pytest.raises(ConfigurationError, match="expected 7 weights .*got 2"):
        make_fusion(load_settings(["ranking.fusion_weights=[1,2]"]))


def test_trending_is_read_at_half_lives_that_the_catalogue_has():
    retrieval_limits(load_settings(["retrieval.trending_weights=[1,0,0,0,2]"]))
    with pytest.raises(ConfigurationError, match="TRENDING_WEIGHTS: expected 5, .* got 1"):
        retrieval_limits(load_settings(["retrieval.trending_weights=[1]"]))


def test_an_override_is_typed_bounded_and_listed():
    settings = load_settings(["users.link_ms=5000", "items.windows_ms=[60000]"])
    assert settings.users.link_ms == 5000
    assert differing(settings) == {"users.link_ms": 5000, "items.windows_ms": [60000]}


@pytest.mark.parametrize("override", ["users.nothing=1", "nothing=1", "users.link_ms", "users=1"])
def test_an_override_that_names_no_setting_is_refused(override):
    with pytest.raises(ConfigurationError):
        load_settings([override])


def test_a_value_out_of_bounds_names_the_setting_and_what_came():
    with pytest.raises(ConfigurationError, match=r"HEADWATER_USERS__MAX_HISTORY.*got 1"):
        load_settings(["users.max_history=1"])


def test_values_that_a_setting_takes_are_named_in_their_own_case(monkeypatch):
    monkeypatch.setenv("HEADWATER_KAFKA_SECURITY__PROTOCOL", "sasl_ssl")
    with pytest.raises(ConfigurationError, match="PROTOCOL: input should be .*'SASL_SSL'"):
        load_settings()


@pytest.mark.parametrize("name", ["", "two words", "ä", "t" * 250, ".", ".."])
def test_what_kafka_takes_for_no_topic_is_refused_by_name(name, monkeypatch):
    monkeypatch.setenv("HEADWATER_TOPICS__INTERACTIONS", name)
    with pytest.raises(ConfigurationError, match="HEADWATER_TOPICS__INTERACTIONS: .* got"):
        load_settings()


def test_two_topics_of_one_name_are_refused():
    with pytest.raises(ConfigurationError, match="HEADWATER_TOPICS: expected five .*got items"):
        load_settings(["topics.interactions=items"])


def test_two_topics_that_differ_by_a_dot_alone_are_refused():
    with pytest.raises(ConfigurationError, match="expected five topics"):
        load_settings(["topics.interactions=feed.events", "topics.items=feed_events"])


def test_a_misspelt_setting_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("HEADWATER_KAFAK", "x")
    with pytest.raises(ConfigurationError, match="HEADWATER_KAFAK, did you mean HEADWATER_KAFKA"):
        load_settings()
