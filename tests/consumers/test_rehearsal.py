"""The rehearsal runs every step for real and leaves nothing behind."""

from __future__ import annotations

from consumers.configuration import load_settings, make_fusion
from consumers.rehearsal import made_up_events, rehearse


def test_rehearsal_makes_lists_of_its_own_events() -> None:
    settings = load_settings(["refresh.max_batch=4"])
    pipeline = rehearse(settings, make_fusion(settings))
    counters = pipeline.engine.counters()
    assert counters["applied"] == len(made_up_events())
    assert counters["rejected"] == counters["duplicate"] == 0
    assert pipeline.engine.num_items > 0
