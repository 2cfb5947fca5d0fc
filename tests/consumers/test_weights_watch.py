"""Weights are swapped while a worker runs; bad ones never are."""

import os

import pytest

from consumers.rankers import newest_manifest
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
    assert (scorer.name, scorer.sequence) == (weights(2).name(), 2)
    assert not watch.look()


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
