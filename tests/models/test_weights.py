from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save as format_tensors

from models.errors import WeightsInvalid
from models.network import NetworkConfig, RankingNetwork
from models.scorer import TorchScorer
from models.synthetic import random_inputs
from models.weights import NetworkWeights, load_weights, save_weights

CONFIG = NetworkConfig(dim=16, attention_dim=8, hidden_dim=16, second_dim=8)


def make_weights(seed: int = 0) -> NetworkWeights:
    return NetworkWeights.of_network(
        RankingNetwork(CONFIG, seed=seed),
        head_weights=(1.0, 2.0, 3.0, 4.0, -5.0),
        trained_on="a test",
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_weights(make_weights(), tmp_path / "new" / "folder")


def change_manifest(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def tensor_file(path: Path) -> Path:
    return path.with_suffix(".safetensors")


def replace_tensors(path: Path, **changes: np.ndarray | None) -> None:
    """Put other tensors in place, with a manifest that vouches for their bytes and shapes."""
    tensors = {**make_weights().tensors, **changes}
    present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    data = format_tensors(present)
    tensor_file(path).write_bytes(data)
    shapes = {name: list(tensor.shape) for name, tensor in present.items()}
    change_manifest(
        path,
        lambda manifest: manifest.update(
            bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), shapes=shapes
        ),
    )


def test_saved_weights_load_to_the_same_scores(saved: Path) -> None:
    loaded = load_weights(saved)
    assert (loaded.head_weights, loaded.trained_on) == ((1.0, 2.0, 3.0, 4.0, -5.0), "a test")
    assert loaded.name() == make_weights().name() == saved.stem
    inputs = random_inputs(num_candidates=(30, 70), dim=16)
    before = TorchScorer(make_weights(), device="cpu").score(inputs)
    after = TorchScorer(loaded, device="cpu").score(inputs)
    np.testing.assert_array_equal(before.values, after.values)


def test_same_parameters_give_the_same_bytes_and_other_ones_another_name() -> None:
    assert make_weights().to_bytes() == make_weights().to_bytes()
    assert make_weights(seed=1).name() != make_weights().name()


def test_saving_leaves_no_temporary_file(saved: Path) -> None:
    assert {path.suffix for path in saved.parent.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, -1])
def test_truncated_tensors_are_refused(saved: Path, keep: int) -> None:
    data = tensor_file(saved).read_bytes()
    tensor_file(saved).write_bytes(data[:keep])
    with pytest.raises(WeightsInvalid, match="size in bytes"):
        load_weights(saved)


@pytest.mark.parametrize("keep", [0, 1, 50, -3])
def test_truncated_manifest_is_refused(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(WeightsInvalid, match="expected a weights manifest"):
        load_weights(saved)


def test_every_flipped_bit_is_refused(saved: Path) -> None:
    data = tensor_file(saved).read_bytes()
    for place in (0, 9, 200, len(data) // 2, len(data) - 1):
        flipped = bytearray(data)
        flipped[place] ^= 4
        tensor_file(saved).write_bytes(flipped)
        with pytest.raises(WeightsInvalid, match="SHA-256"):
            load_weights(saved)


def test_absent_files_are_refused(saved: Path) -> None:
    with pytest.raises(WeightsInvalid, match="readable file"):
        load_weights(saved.with_name("absent.json"))
    tensor_file(saved).unlink()
    with pytest.raises(WeightsInvalid, match="readable file"):
        load_weights(saved)


@pytest.mark.parametrize("version", ["format", "feature_version"])
def test_another_version_is_refused(saved: Path, version: str) -> None:
    change_manifest(saved, lambda manifest: manifest.update({version: 999}))
    with pytest.raises(WeightsInvalid, match="version"):
        load_weights(saved)


def test_wrong_shape_under_a_right_hash_is_refused(saved: Path) -> None:
    replace_tensors(saved, **{"output.bias": np.zeros(7, np.float32)})
    with pytest.raises(WeightsInvalid, match="these differ: .*output.bias"):
        load_weights(saved)


def test_missing_and_unknown_parameters_are_refused(saved: Path) -> None:
    for change in ({"output.bias": None}, {"extra": np.zeros(1, np.float32)}):
        replace_tensors(saved, **change)
        with pytest.raises(WeightsInvalid, match="these differ"):
            load_weights(saved)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(saved: Path, bad: float) -> None:
    replace_tensors(saved, **{"output.bias": np.full(6, bad, np.float32)})
    with pytest.raises(WeightsInvalid, match="finite numbers in output.bias"):
        load_weights(saved)


def test_another_dtype_is_refused(saved: Path) -> None:
    replace_tensors(saved, **{"output.bias": np.zeros(6, np.float16)})
    with pytest.raises(WeightsInvalid, match="float32"):
        load_weights(saved)


def test_bytes_that_are_no_safetensors_are_refused(saved: Path) -> None:
    data = b"\xff" * 64
    tensor_file(saved).write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    change_manifest(saved, lambda manifest: manifest.update(bytes=64, sha256=sha256))
    with pytest.raises(WeightsInvalid, match="safetensors"):
        load_weights(saved)


@pytest.mark.parametrize("file", ["../x.safetensors", "/etc/hostname", "", ".", None, 3])
def test_a_file_elsewhere_is_refused(saved: Path, file: object) -> None:
    change_manifest(saved, lambda manifest: manifest.update(file=file))
    with pytest.raises(WeightsInvalid):
        load_weights(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"network": {"dim": 1 << 40}},
        {"network": {"dim": "16"}},
        {"network": {"unknown": 1}},
        {"network": None},
        {"head_weights": {"completion": 1.0}},
        {"head_weights": {}},
        {"shapes": []},
        {"shapes": {"output.bias": 3}},
        {"bytes": None},
    ],
)
def test_broken_manifest_fields_are_refused(saved: Path, change: dict[str, object]) -> None:
    change_manifest(saved, lambda manifest: manifest.update(change))
    with pytest.raises(WeightsInvalid):
        load_weights(saved)


@pytest.mark.parametrize("text", ["[]", "3", '"x"', "null", "[" * 100_000, "{}"])
def test_other_json_is_refused(saved: Path, text: str) -> None:
    saved.write_text(text)
    with pytest.raises(WeightsInvalid):
        load_weights(saved)


def test_too_large_files_are_refused_unread(saved: Path) -> None:
    with tensor_file(saved).open("r+b") as file:
        file.truncate(65 * 1024 * 1024)
    with pytest.raises(WeightsInvalid, match="at most"):
        load_weights(saved)
