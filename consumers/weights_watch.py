"""Hot weights: a new manifest where the worker's weights are is loaded, verified and swapped in.

Looked at every few seconds; a swap takes effect between two micro-batches. Weights that cannot be
used are a warning once, and the old ones go on.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, cast

from consumers.rankers import newest_manifest, uses_network, weights_sequence
from models.errors import WeightsInvalid
from models.ranking import Ranker
from stream.errors import ConfigurationError
from stream.settings import Settings

if TYPE_CHECKING:
    from models.scorer import TorchScorer

logger = logging.getLogger(__name__)


class WeightsWatch:
    """Watches the path that the setting names.

    Args:
        path: Manifest, or a folder of manifests of which the newest counts.
        scorer: Gets new weights.
        interval_s: Between two looks.
    """

    def __init__(self, path: Path, scorer: TorchScorer, *, interval_s: float = 5.0) -> None:
        self._path = path
        self._scorer = scorer
        self._interval_s = interval_s
        self._known = self._fingerprint()
        self._refused: tuple[str, int] | None = None

    def _fingerprint(self) -> tuple[str, int] | None:
        """Return name and time of the newest manifest; None while there is none."""
        try:
            manifest = newest_manifest(self._path)
            return str(manifest), manifest.stat().st_mtime_ns
        except (ConfigurationError, OSError):
            return None

    def look(self) -> bool:
        """Load and swap if there is something new; return whether a swap took place. Blocks."""
        found = self._fingerprint()
        if found is None or found == self._known:
            return False
        from models.weights import load_weights  # Here: torch, which fusion does without.

        try:
            weights = load_weights(Path(found[0]))
            is_new = weights.name() != self._scorer.name
            if is_new:
                self._scorer.swap(weights, weights_sequence(Path(found[0])))
        except WeightsInvalid as error:
            # Tried again: the manifest may have been copied before its tensors.
            if found != self._refused:
                logger.warning("new weights cannot be used, the old ones go on: %s", error)
            self._refused = found
            return False
        self._known = found
        if not is_new:
            return False
        logger.info("swapped weights: %s", self._scorer.name)
        return True

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await asyncio.to_thread(self.look)


def watch_weights(settings: Settings, ranker: Ranker) -> WeightsWatch | None:
    """Return what watches the worker's weights; None where fusion ranks and none are swapped."""
    path = settings.ranking.weights
    if path is None or not uses_network(settings):
        return None
    return WeightsWatch(path, cast("TorchScorer", ranker))
