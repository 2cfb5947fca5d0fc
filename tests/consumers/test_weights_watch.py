"""Weights are swapped while a worker runs; bad ones never are."""

import os

import pytest

from consumers.rankers import newest_manifest, weights_sequence
from consumers.weights_watch import WeightsWatch
from models.network import NetworkConfig, RankingNetwork
from models.scorer import TorchScorer
from models.weights import NetworkWeights, save_weights
from stream.errors import ConfigurationError

CONFIG = NetworkConfig(dim=8, attention_dim=4, hidden_dim=8, second_dim=4)


def weights(seed):
    return NetworkWeights.of_network(RankingNetwork(CONFIG, seed=seed))


def saved(folder, seed, time_ns):
    manifest = save_weights(weights(seed), folder)
    os.utime(manifest, ns=(time_ns, time_ns))
    return manifest


def test_the_newest_manifest_of_a_folder_counts(tmp_path):
    older = saved(tmp_path, 1, 1_000)
    newer = saved(tmp_path, 2, 2_000)
    assert newest_manifest(tmp_path) == newer
    assert newest_manifest(older) == older


def test_an_empty_folder_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigurationError, match="expected a manifest"):
        newest_manifest(tmp_path)


def test_new_weights_are_swapped_in_once(tmp_path):
    saved(tmp_path, 1, 1_000)
    scorer = TorchScorer(weights(1), device="cpu")
    watch = WeightsWatch(tmp_path, scorer)
    assert not watch.look()
    saved(tmp_path, 2, 2_000)
    assert watch.look()
    assert scorer.name == weights(2).name()
    assert not watch.look()


HOUR_NS = 3_600 * 10**9
# 22 November 2026.
NOW_NS = 1_795_305_600 * 10**9


def test_a_workers_next_life_makes_lists_no_older_than_its_last(tmp_path):
    #   life 1: weights 1, then 2 swapped in; life 2 starts with 2; then 3
    first = saved(tmp_path, 1, NOW_NS)
    scorer = TorchScorer(weights(1), device="cpu", sequence=weights_sequence(first))
    watch = WeightsWatch(tmp_path, scorer)
    second = saved(tmp_path, 2, NOW_NS + 30 * HOUR_NS)
    assert watch.look()
    assert scorer.sequence == weights_sequence(first) + 30 == weights_sequence(second)
    third = saved(tmp_path, 3, NOW_NS + 31 * HOUR_NS)
    assert weights_sequence(third) > weights_sequence(second) < 999_999


def test_a_sequence_never_falls_and_fits_its_digits_whatever_the_files_time(tmp_path):
    manifest = saved(tmp_path, 1, NOW_NS)
    scorer = TorchScorer(weights(1), device="cpu", sequence=weights_sequence(manifest))
    before = scorer.sequence
    scorer.swap(weights(2), weights_sequence(saved(tmp_path, 2, 1_000)))
    assert scorer.sequence == before
    assert weights_sequence(saved(tmp_path, 2, 1_000)) == 1


def test_broken_weights_leave_the_old_ones(tmp_path, caplog):
    saved(tmp_path, 1, 1_000)
    scorer = TorchScorer(weights(1), device="cpu")
    watch = WeightsWatch(tmp_path, scorer)
    manifest = saved(tmp_path, 2, 2_000)
    manifest.with_suffix(".safetensors").write_bytes(b"cut")
    assert not watch.look()
    assert scorer.sequence == 1
    assert "cannot be used" in caplog.text


def test_weights_that_were_copied_half_are_taken_once_they_are_whole(tmp_path, caplog):
    saved(tmp_path, 1, 1_000)
    scorer = TorchScorer(weights(1), device="cpu")
    watch = WeightsWatch(tmp_path, scorer)
    tensors = saved(tmp_path, 2, 2_000).with_suffix(".safetensors")
    whole = tensors.read_bytes()
    tensors.unlink()
    assert not watch.look() and not watch.look()
    assert caplog.text.count("cannot be used") == 1
    tensors.write_bytes(whole)
    assert watch.look()
    assert scorer.name == weights(2).name()
