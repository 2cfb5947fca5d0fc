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
    from models.scorer import TorchScorer  # Here: who ranks by fusion needs no torch.
    from models.weights import load_weights

    path = settings.ranking.weights
    if path is None:
        message = (
            "the network needs weights: set HEADWATER_RANKING__WEIGHTS to a folder that "
            "`headwater train` made"
        )
        raise ConfigurationError(message)
    try:
        return TorchScorer(load_weights(newest_manifest(path)), device=settings.ranking.device)
    except WeightsInvalid as error:
        message = f"HEADWATER_RANKING__WEIGHTS: {error}"
        raise ConfigurationError(message) from error


def choose_ranker(settings: Settings) -> Ranker:
    """Return the ranker that the settings ask for."""
    wanted = settings.ranking.ranker
    if wanted == "fusion" or (wanted == "auto" and settings.ranking.weights is None):
        return make_fusion(settings)
    return load_network(settings)
