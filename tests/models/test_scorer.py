from __future__ import annotations

import threading
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ScoringFailed, WeightsInvalid
from models.network import HEADS, NetworkConfig, RankingNetwork
from models.ranking import Ranker, RankerScores, RankingInputs
from models.scorer import LoadedNetwork, TorchScorer, pick_device
from models.synthetic import random_inputs
from models.weights import NetworkWeights

# Law 5: values are sums of probabilities; a float32 matrix product may add in another order.
RELATIVE, ABSOLUTE = 1e-4, 1e-6
CONFIG = NetworkConfig(dim=16, attention_dim=8, hidden_dim=16, second_dim=8)


def lively_weights(seed: int = 0, config: NetworkConfig = CONFIG) -> NetworkWeights:
    """Weights with a random last layer too, so that every path reaches the score."""
    network = RankingNetwork(config, seed=seed)
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in (network.output.weight, network.wide.weight, network.history.bias):
            drawn = random.standard_normal(parameter.shape).astype(np.float32)
            parameter.add_(torch.from_numpy(drawn * np.float32(0.3)))
    return NetworkWeights.of_network(network)


def scorer(**options: object) -> TorchScorer:
    return TorchScorer(lively_weights(), device="cpu", **options)  # type: ignore[arg-type]


def assert_same(one: RankerScores, two: RankerScores) -> None:
    np.testing.assert_allclose(one.values, two.values, rtol=RELATIVE, atol=ABSOLUTE)
    np.testing.assert_allclose(one.heads, two.heads, rtol=RELATIVE, atol=ABSOLUTE)


def permuted_users(inputs: RankingInputs, order: list[int]) -> tuple[RankingInputs, list[int]]:
    """Inputs with users (and their candidates, reversed) in another order, and where each was."""
    candidates = [
        c for user in order for c in reversed(range(inputs.splits[user], inputs.splits[user + 1]))
    ]
    sizes = np.diff(inputs.splits)[order]
    columns = {}
    for field in fields(inputs):
        column = getattr(inputs, field.name)
        is_candidate = field.name.startswith(("candidate_", "source_s", "source_r", "is_seen"))
        columns[field.name] = column[candidates] if is_candidate else column[: len(order)]
        if not is_candidate and field.name != "splits":
            columns[field.name] = column[order]
    columns["splits"] = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    columns["candidate_users"] = np.repeat(np.arange(len(order)), sizes).astype(np.int32)
    return RankingInputs(**columns), candidates


counts = st.lists(st.just(0) | st.integers(0, 150), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(counts=counts, seed=st.integers(0, 1000), data=st.data())
def test_a_candidate_alone_scores_as_in_any_batch(
    counts: list[int], seed: int, data: st.DataObject
) -> None:
    inputs = random_inputs(num_candidates=tuple(counts), dim=16, max_history=7, seed=seed)
    whole = scorer().score(inputs)
    if len(inputs) == 0:
        return
    candidate = data.draw(st.integers(0, len(inputs) - 1))
    alone = scorer().score(inputs.take(np.array([candidate])))
    assert_same(
        alone, RankerScores(values=whole.values[[candidate]], heads=whole.heads[[candidate]])
    )


@settings(max_examples=25, deadline=None)
@given(counts=counts, seed=st.integers(0, 1000), data=st.data())
def test_order_of_users_and_candidates_does_not_matter(
    counts: list[int], seed: int, data: st.DataObject
) -> None:
    inputs = random_inputs(num_candidates=tuple(counts), dim=16, max_history=7, seed=seed)
    order = data.draw(st.permutations(range(len(counts))))
    other, origins = permuted_users(inputs, order)
    whole = scorer().score(inputs)
    assert_same(
        scorer().score(other),
        RankerScores(values=whole.values[origins], heads=whole.heads[origins]),
    )


@settings(max_examples=20, deadline=None)
@given(counts=counts, max_tiles=st.integers(1, 9), more_history=st.integers(0, 6))
def test_micro_batches_and_padding_do_not_matter(
    counts: list[int], max_tiles: int, more_history: int
) -> None:
    inputs = random_inputs(num_candidates=tuple(counts), dim=16, max_history=7)
    padded = {}
    for field in fields(inputs):
        if field.name.startswith("history_") and field.name != "history_lengths":
            column = getattr(inputs, field.name)
            widths = [(0, 0), (0, more_history)] + [(0, 0)] * (column.ndim - 2)
            padded[field.name] = np.pad(column, widths)
    wider = replace(inputs, **padded)
    assert_same(scorer(max_tiles=max_tiles).score(wider), scorer().score(inputs))


def test_users_without_candidates_take_no_place_in_a_micro_batch() -> None:
    inputs = random_inputs(num_candidates=(5, *(0,) * 20, 5), dim=16, max_history=7)
    assert_same(scorer(max_tiles=2).score(inputs), scorer(max_tiles=64).score(inputs))


def test_a_masked_history_entry_has_no_influence() -> None:
    inputs = random_inputs(num_candidates=(20, 20), dim=16, max_history=7)
    noisy = inputs.history_embeddings.copy()
    noisy[~inputs.history_present] = 1e3
    assert (~inputs.history_present).any()
    changed = replace(inputs, history_embeddings=noisy)
    assert_same(scorer().score(changed), scorer().score(inputs))


def test_history_changes_the_score() -> None:
    inputs = random_inputs(num_candidates=(50,), dim=16, max_history=7, seed=3)
    without = replace(inputs, history_present=np.zeros_like(inputs.history_present))
    assert inputs.history_present.any()
    assert not np.allclose(scorer().score(inputs).values, scorer().score(without).values, rtol=1e-3)


def test_value_is_the_weighted_sum_of_the_heads() -> None:
    weights = (0.5, 1.0, 2.0, 4.0, -8.0)
    scores = scorer(head_weights=weights).score(random_inputs(num_candidates=(30,), dim=16))
    assert scores.heads.shape == (30, len(HEADS))
    assert (scores.heads >= 0).all() and (scores.heads <= 1).all()
    np.testing.assert_allclose(scores.values, scores.heads @ np.float32(weights), rtol=1e-5)


def test_no_users_and_no_candidates_give_empty_scores() -> None:
    for num_candidates in ((), (0,), (0, 0, 0)):
        scores = scorer().score(random_inputs(num_candidates=num_candidates, dim=16))
        assert scores.values.shape == (0,)
        assert scores.heads.shape == (0, len(HEADS))


def test_untrained_network_orders_as_the_fusion_of_ranks() -> None:
    inputs = random_inputs(num_candidates=(200,), dim=16)
    network = RankingNetwork(CONFIG, seed=1)
    torch.nn.init.zeros_(network.output.weight)
    values = TorchScorer(NetworkWeights.of_network(network), device="cpu").score(inputs).values
    ranks = inputs.source_ranks.astype(float)
    fusion = np.where(ranks > 0, 1 / (19 + np.maximum(ranks, 1)), 0.0).sum(axis=1)
    order = np.argsort(fusion)
    assert (np.diff(values[order]) >= -1e-6).all()


def test_swap_changes_scores_name_and_sequence() -> None:
    inputs = random_inputs(num_candidates=(40,), dim=16)
    swapped = scorer(sequence=7)
    before, name = swapped.score(inputs), swapped.name
    swapped.swap(lively_weights(seed=1))
    after = swapped.score(inputs)
    assert (swapped.sequence, swapped.name != name) == (8, True)
    assert not np.allclose(before.values, after.values)
    assert_same(after, TorchScorer(lively_weights(seed=1), device="cpu").score(inputs))


def test_swap_during_a_call_leaves_the_call_with_the_old_weights() -> None:
    inputs = random_inputs(num_candidates=(300,) * 4, dim=16)
    subject = scorer(max_tiles=1)
    old = subject.score(inputs)
    network = subject.current()._network
    calls = []

    def swap_midway(*_: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            subject.swap(lively_weights(seed=1))

    network.register_forward_hook(swap_midway)
    assert_same(subject.score(inputs), old)
    assert (len(calls) > 3, subject.sequence) == (True, 2)
    assert not np.allclose(subject.score(inputs).values, old.values)


def test_swaps_from_several_threads_each_count_once() -> None:
    subject, weights = scorer(), lively_weights(seed=1)
    threads = [threading.Thread(target=subject.swap, args=(weights,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert subject.sequence == 9


def test_current_is_a_ranker_that_survives_a_swap() -> None:
    subject = scorer()
    pinned: Ranker = subject.current()
    name = pinned.name
    subject.swap(lively_weights(seed=1))
    assert (pinned.name, pinned.sequence) == (name, 1)
    assert subject.name != name


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_a_typed_failure(bad: float) -> None:
    inputs = random_inputs(num_candidates=(40, 40), dim=16)
    inputs.candidate_popularity_logs[57, 2] = bad
    with pytest.raises(ScoringFailed, match="expected finite scores.* got"):
        scorer().score(inputs)


def test_a_network_that_raises_is_a_typed_failure() -> None:
    subject = scorer()

    def raise_memory(*_: object) -> None:
        message = "out of memory"
        raise RuntimeError(message)

    subject.current()._network.register_forward_hook(raise_memory)
    with pytest.raises(ScoringFailed, match="RuntimeError: out of memory"):
        subject.score(random_inputs(num_candidates=(4,), dim=16))


def test_parameters_gone_bad_in_memory_give_no_scores() -> None:
    subject = scorer()
    with torch.no_grad():
        subject.current()._network.output.bias[0] = torch.nan
    with pytest.raises(ScoringFailed, match="finite"):
        subject.score(random_inputs(num_candidates=(4,), dim=16))


def test_inputs_of_other_widths_are_a_typed_failure() -> None:
    with pytest.raises(ScoringFailed, match="expected inputs of"):
        scorer().score(random_inputs(num_candidates=(4,), dim=32))


def test_head_weights_that_rank_nothing_are_refused() -> None:
    for weights in ((1.0, 1.0), (0.0, 0.0, 0.0, 0.0, -1.0), (np.nan, 1.0, 1.0, 1.0, -1.0)):
        with pytest.raises(WeightsInvalid, match="head weight"):
            scorer(head_weights=weights)


def test_refused_swap_leaves_the_old_weights() -> None:
    subject = scorer()
    broken = lively_weights(seed=1)
    tensors = {**broken.tensors, "output.bias": np.full(6, np.nan, np.float32)}
    with pytest.raises(WeightsInvalid, match="NaN"):
        subject.swap(replace(broken, tensors=tensors))
    assert subject.sequence == 1


def test_same_inputs_give_the_same_bits() -> None:
    inputs = random_inputs(num_candidates=(100, 3, 64), dim=16)
    np.testing.assert_array_equal(scorer().score(inputs).values, scorer().score(inputs).values)


def test_scoring_touches_no_global_generator_and_no_input() -> None:
    inputs = random_inputs(num_candidates=(30,), dim=16)
    before = torch.random.get_rng_state()
    copies = {field.name: getattr(inputs, field.name).copy() for field in fields(inputs)}
    scorer().score(inputs)
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, column in copies.items():
        np.testing.assert_array_equal(getattr(inputs, name), column)


def test_auto_takes_the_device_that_is_there() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device("auto").type == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_cpu_and_gpu_agree() -> None:
    inputs = random_inputs(num_candidates=(300, 0, 17, 64), dim=16)
    on_gpu = TorchScorer(lively_weights(), device="cuda").score(inputs)
    assert_same(on_gpu, scorer().score(inputs))


def test_loaded_network_satisfies_the_protocol() -> None:
    rankers: list[Ranker] = [scorer(), scorer().current()]
    assert isinstance(rankers[1], LoadedNetwork)
    assert all(ranker.name.startswith("network-") for ranker in rankers)
