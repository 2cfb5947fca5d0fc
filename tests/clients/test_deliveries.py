"""Failures: shown once to whoever looks, raised where nobody did, and bounded."""

from __future__ import annotations

from concurrent.futures import wait

import pytest

from headwater_client.deliveries import Delivery, Failures, Outcome, Receipt
from headwater_client.errors import DeliveryFailed


def failed(record_id: str) -> tuple[Outcome, Delivery]:
    outcome = Outcome(record_id, OSError("away"))
    delivery = Delivery(outcome)
    delivery.set_exception(outcome.failure())
    return outcome, delivery


def test_a_receipt_is_given_to_everybody_who_asks() -> None:
    delivery = Delivery(Outcome("e1"))
    with pytest.raises(TimeoutError):
        delivery.result(0)
    assert not delivery.cancel()
    receipt = Receipt(record_id="e1", topic="t", partition=1, offset=2)
    delivery.set_result(receipt)
    assert delivery.result() == delivery.result(0) == receipt
    assert delivery.exception() is None and delivery.record_id == "e1"


def test_only_what_nobody_saw_is_raised_and_only_once() -> None:
    failures = Failures()
    deliveries = []
    for name in ("seen by result", "seen by exception", "waited for", "unseen"):
        outcome, delivery = failed(name)
        failures.add(outcome)
        deliveries.append(delivery)
    with pytest.raises(DeliveryFailed, match="OSError: away.*same event_id"):
        deliveries[0].result()
    assert isinstance(deliveries[1].exception(), DeliveryFailed)
    assert wait(deliveries[2:3]).done  # Who only waits has not looked.
    with pytest.raises(DeliveryFailed) as caught:
        failures.report()
    assert caught.value.record_ids == ("waited for", "unseen")
    assert caught.value.num_failed == 2
    failures.report()


def test_a_timeout_is_no_look() -> None:
    outcome = Outcome("e1", OSError("away"))
    delivery = Delivery(outcome)
    with pytest.raises(TimeoutError):
        delivery.result(0)
    assert not outcome.is_seen


def test_beyond_the_bound_failures_are_counted() -> None:
    failures = Failures()
    for number in range(2_500):
        failures.add(failed(f"e{number}")[0])
    with pytest.raises(DeliveryFailed, match=r"2,500 \(.*\.\.\.\)") as caught:
        failures.report()
    assert caught.value.num_failed == 2_500
    assert len(caught.value.record_ids) == 1_000
    assert caught.value.record_ids[-1] == "e2499"
