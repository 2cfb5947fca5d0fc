"""The ranker that a worker starts with: the network where weights are given, else fusion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from consumers.configuration import make_fusion
from models.errors import WeightsInvalid
from models.ranking import Ranker
from stream.errors import ConfigurationError
from stream.settings import Settings

if TYPE_CHECKING:
    from models.scorer import TorchScorer

# 1 January 2020, s. Hours since then fill the six digits of a version in the year 2134.
_SEQUENCE_START_S = 1_577_836_800
_SEQUENCE_STEP_S = 3_600


def weights_sequence(manifest: Path) -> int:
    """Return the number of a manifest's weights: hours since 2020 at which it was put there.

    The same for every worker and after every restart, so that a worker's first lists are not older
    than its last ones; by the same time as :func:`newest_manifest` chooses. Weights of one hour
    share a number: the time of writing then tells their lists apart.

    >>> weights_sequence(Path("/nowhere/at/all.json"))
    1
    """
    try:
        placed_s = manifest.stat().st_mtime
    except OSError:
        return 1  # Gone again.
    return max(int(placed_s - _SEQUENCE_START_S) // _SEQUENCE_STEP_S, 1)


def newest_manifest(path: Path) -> Path:
    """Return the manifest that a path names: itself, or the newest one in a folder."""
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.json"), key=lambda each: (each.stat().st_mtime_ns, each.name))
    if not found:
        message = f"HEADWATER_RANKING__WEIGHTS: expected a manifest (.json) in {path}, found none"
        raise ConfigurationError(message)
    return found[-1]


def load_network(settings: Settings) -> TorchScorer:
    """Load and verify the network's weights.

    Raises:
        ConfigurationError: None are named, or they cannot be used; says why.
    """
    import torch  # Here: who ranks by fusion waits seconds less for his start.

    from models.scorer import TorchScorer
    from models.weights import load_weights

    path = settings.ranking.weights
    if path is None:
        message = (
            "the network needs weights: set HEADWATER_RANKING__WEIGHTS to a folder that "
            "`headwater train` made"
        )
        raise ConfigurationError(message)
    torch.set_num_threads(settings.ranking.torch_threads)
    try:
        manifest = newest_manifest(path)
        return TorchScorer(
            load_weights(manifest),
            device=settings.ranking.device,
            sequence=weights_sequence(manifest),
        )
    except WeightsInvalid as error:
        message = f"HEADWATER_RANKING__WEIGHTS: {error}"
        raise ConfigurationError(message) from error


def choose_ranker(settings: Settings) -> Ranker:
    """Return the ranker that the settings ask for."""
    return load_network(settings) if uses_network(settings) else make_fusion(settings)


def uses_network(settings: Settings) -> bool:
    """Whether the settings ask for the network."""
    ranking = settings.ranking
    return ranking.ranker == "network" or (ranking.ranker == "auto" and ranking.weights is not None)
