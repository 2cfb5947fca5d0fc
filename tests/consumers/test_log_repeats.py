"""A line that a library repeats comes once per interval, and then says how often it came."""

from __future__ import annotations

import logging

from consumers.log_repeats import HoldRepeats


class Log:
    """What comes through of lines logged at times that a test says."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._filter = HoldRepeats(("aiokafka",), interval_s=10.0, now_s=lambda: self.now_s)

    def say(self, name: str, text: str, *values: object) -> str | None:
        record = logging.LogRecord(name, logging.ERROR, "", 0, text, values, None)
        return record.getMessage() if self._filter.filter(record) else None


def test_a_repeated_line_of_a_library_comes_once_per_interval() -> None:
    log = Log()
    said = []
    for now_s in (0.0, 1.0, 9.9, 10.0, 11.0):
        log.now_s = now_s
        said.append(log.say("aiokafka.conn", "no node %s", 1))
    assert said == [
        "no node 1",
        None,
        None,
        "no node 1 (and 2 more like it since the last)",
        None,
    ]


def test_another_line_another_logger_and_our_own_come_at_once() -> None:
    log = Log()
    lines = [
        ("aiokafka", "a"),
        ("aiokafka", "b"),
        ("aiokafka.conn", "a"),
        *[("consumers", "a")] * 2,
    ]
    assert [log.say(*line) for line in lines] == ["a", "b", "a", "a", "a"]


def test_kinds_of_lines_are_bounded() -> None:
    log = Log()
    for number in range(1_000):
        assert log.say("aiokafka", f"line {number}") is not None
    assert len(log._filter._kinds) <= 256
