"""What is known of the past, event by event."""

from evaluation.facts import Facts
from tests.evaluation.tiny_logs import START_MS, Event, decode


def test_facts_by_hand() -> None:
    events = decode(
        [
            Event("u1", "a", 1), Event("u2", "a", 2, "like"), Event("u1", "b", 3),
            Event("u1", "c", 4, "unlike"), Event("u1", "", 5, "erase"), Event("u1", "a", 6),
        ]
    )  # fmt: skip
    facts = Facts()
    facts.learn(events, 0, 4)
    assert facts.consumed == {"u1": {"a", "b"}, "u2": {"a"}}
    facts.learn(events, 4, 6)
    assert facts.consumed == {"u1": {"a"}, "u2": {"a"}}
    assert (facts.touches_of("a"), facts.touches_of("b"), facts.touches_of("c")) == (3, 1, 0)
    assert facts.num_touches == 4
    assert facts.items["a"].first_ms == START_MS + 1_000
    assert facts.items["a"].users == 0b11
    assert facts.items["b"].users == 0b01
    assert (facts.number_of("u2"), facts.number_of("u9")) == (1, 2)
