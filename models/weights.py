"""Weights as a value, and as two files: safetensors plus a manifest that vouches for them.

The manifest (JSON) carries the format and feature versions, the network's configuration, the
head weights, what the weights were trained on, and of the safetensors file its bare name, size,
SHA-256 and shapes. :func:`load_weights` believes nothing that it has not checked: size before
reading, hash before parsing, names, shapes, dtype and finiteness before use; each failure is a
:class:`~models.errors.WeightsInvalid`. Absent: pickle in any form.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as format_tensors

from models.errors import WeightsInvalid
from models.features import FEATURE_VERSION
from models.network import DEFAULT_HEAD_WEIGHTS, HEADS, NetworkConfig, RankingNetwork

FORMAT_VERSION = 1
# A network of 100 K parameters is 0.4 MB; what is larger than this was never ours.
MAX_TENSOR_BYTES = 64 * 1024 * 1024
MAX_MANIFEST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkWeights:
    """Parameters of one network, checked; the arrays must not be changed.

    Attributes:
        config: Shapes of the network.
        tensors: float32 array per parameter name.
        head_weights: One signed weight per head, in the order of ``HEADS``.
        trained_on: What the weights were trained on, for a person.
    """

    config: NetworkConfig
    tensors: Mapping[str, NDArray[np.float32]]
    head_weights: tuple[float, ...] = DEFAULT_HEAD_WEIGHTS
    trained_on: str = "untrained"

    def __post_init__(self) -> None:
        """Check names, shapes, dtype and finiteness against the configuration.

        Raises:
            WeightsInvalid: Something does not fit or is not finite.
        """
        expected = {
            name: tuple(parameter.shape)
            for name, parameter in RankingNetwork(self.config).named_parameters()
        }
        came = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        if came != expected:
            wrong = sorted(set(came.items()) ^ set(expected.items()))[:4]
            message = (
                f"expected the parameters of {self.config}, these differ: {wrong}. "
                "Train new weights or use the matching manifest."
            )
            raise WeightsInvalid(message)
        for name, tensor in self.tensors.items():
            if tensor.dtype != np.float32:
                message = f"expected float32 in {name}, got {tensor.dtype}"
                raise WeightsInvalid(message)
            if not np.isfinite(tensor).all():
                message = f"expected finite numbers in {name}, got NaN or infinity; train again"
                raise WeightsInvalid(message)
        check_head_weights(self.head_weights)

    @classmethod
    def of_network(
        cls,
        network: RankingNetwork,
        *,
        head_weights: tuple[float, ...] = DEFAULT_HEAD_WEIGHTS,
        trained_on: str = "untrained",
    ) -> NetworkWeights:
        """Copy the parameters out of a network.

        Raises:
            WeightsInvalid: A parameter is not finite.
        """
        tensors = {
            name: parameter.detach().cpu().numpy().copy()
            for name, parameter in network.named_parameters()
        }
        return cls(
            config=network.config,
            tensors=tensors,
            head_weights=head_weights,
            trained_on=trained_on,
        )

    def to_network(self) -> RankingNetwork:
        """Build a network with copies of these parameters, on the CPU."""
        network = RankingNetwork(self.config)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(torch.from_numpy(self.tensors[name].copy()))
        return network

    def to_bytes(self) -> bytes:
        """Return the safetensors file: the same bytes for the same parameters."""
        return format_tensors({name: self.tensors[name] for name in sorted(self.tensors)})

    def name(self) -> str:
        """Return ``network-<first 8 hex digits of the SHA-256>``; head weights excluded."""
        return f"network-{hashlib.sha256(self.to_bytes()).hexdigest()[:8]}"


def check_head_weights(head_weights: tuple[float, ...]) -> None:
    """Refuse head weights of another number, not finite, or without a positive one.

    Raises:
        WeightsInvalid: They cannot be used.
    """
    if len(head_weights) != len(HEADS) or not np.isfinite(head_weights).all():
        message = f"expected {len(HEADS)} finite head weights {HEADS}, got {head_weights}"
        raise WeightsInvalid(message)
    if max(head_weights) <= 0:
        message = f"expected at least one positive head weight {HEADS}, got {head_weights}"
        raise WeightsInvalid(message)


def save_weights(weights: NetworkWeights, folder: Path) -> Path:
    """Write ``<name>.safetensors``, then ``<name>.json``; each under a temporary name first.

    Args:
        weights: What to write.
        folder: Folder to write into; made where absent.

    Returns:
        Path of the manifest, what :func:`load_weights` takes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data, name = weights.to_bytes(), weights.name()
    manifest = {
        "format": FORMAT_VERSION,
        "feature_version": FEATURE_VERSION,
        "network": asdict(weights.config),
        "head_weights": dict(zip(HEADS, weights.head_weights, strict=True)),
        "trained_on": weights.trained_on,
        "file": f"{name}.safetensors",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "shapes": {key: list(weights.tensors[key].shape) for key in sorted(weights.tensors)},
    }
    _write(folder / f"{name}.safetensors", data)
    path = folder / f"{name}.json"
    _write(path, (json.dumps(manifest, indent=2) + "\n").encode())
    return path


def _write(path: Path, data: bytes) -> None:
    """Write whole or not at all: temporary name, flush to disk, rename."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_weights(path: Path) -> NetworkWeights:
    """Read and verify weights.

    Steps:
        1. Manifest: size, JSON, versions, configuration.
        2. Tensor file: bare name beside the manifest, size, SHA-256.
        3. Tensors: names and shapes as the manifest and the configuration say, float32, finite.

    Args:
        path: The manifest.

    Raises:
        WeightsInvalid: Anything is missing, changed, truncated or of another version.
    """
    # 1. Manifest.
    try:
        manifest = json.loads(_read(path, MAX_MANIFEST_BYTES))
        _expect(manifest["format"], FORMAT_VERSION, "format version")
        _expect(manifest["feature_version"], FEATURE_VERSION, "feature version")
        config = NetworkConfig(**manifest["network"])
        head_weights = tuple(float(manifest["head_weights"][head]) for head in HEADS)
        file, size, sha256 = manifest["file"], manifest["bytes"], manifest["sha256"]
        shapes = {name: tuple(shape) for name, shape in manifest["shapes"].items()}
        trained_on = str(manifest["trained_on"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        message = f"expected a weights manifest in {path}, got {type(error).__name__}: {error}"
        raise WeightsInvalid(message) from error
    # 2. Tensor file.
    if not isinstance(file, str) or not file or file != Path(file).name:
        message = f"expected a bare file name beside the manifest {path}, got {file!r}"
        raise WeightsInvalid(message)
    data = _read(path.with_name(file), MAX_TENSOR_BYTES)
    _expect(len(data), size, f"size in bytes of {file} (truncated copy?)")
    _expect(hashlib.sha256(data).hexdigest(), sha256, f"SHA-256 of {file}")
    # 3. Tensors.
    try:
        tensors = parse_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        message = f"expected a safetensors file in {file}, got: {error}"
        raise WeightsInvalid(message) from error
    _expect({name: tensor.shape for name, tensor in tensors.items()}, shapes, "shapes")
    return NetworkWeights(
        config=config, tensors=tensors, head_weights=head_weights, trained_on=trained_on
    )


def _read(path: Path, max_bytes: int) -> bytes:
    """Read a file of at most max_bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        message = f"expected a readable file {path}, got: {error}"
        raise WeightsInvalid(message) from error
    if len(data) > max_bytes:
        message = f"expected at most {max_bytes} bytes in {path}, got more"
        raise WeightsInvalid(message)
    return data


def _expect(came: Any, expected: Any, what: str) -> None:
    """Refuse a value that is not the expected one."""
    if came != expected:
        message = f"expected {what} {expected!r}, got {came!r}; the weights are not usable here"
        raise WeightsInvalid(message)
