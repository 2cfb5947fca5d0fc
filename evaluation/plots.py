"""Learning curves as a PNG: each contender by decile of the stream, one row of panels per log.

matplotlib is imported when a plot is asked for, never before; without it that is a clear error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

METRICS = ("hr@10", "ndcg@10")


class PlotError(ValueError):
    """A plot cannot be drawn or written here; says what to do."""


# By log, by contender: the means of ten equal parts of the stream, in order.
Curves = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]


def check_plot(path: Path) -> None:
    """Raise PlotError where a plot could not be written: before minutes of work, not after.

    Raises:
        PlotError: Another ending than .png, no such folder, or no matplotlib.
    """
    if path.suffix != ".png":
        message = f"--plot: expected a file that ends in .png, got {path}"
        raise PlotError(message)
    if not path.parent.is_dir():
        message = f"--plot: expected a folder for {path}, found none at {path.parent}"
        raise PlotError(message)
    _figure()


def plot_curves(curves: Curves, path: Path) -> None:
    """Draw HR@10 and NDCG@10 by decile.

    Args:
        curves: At least one log with one contender.
        path: Of the PNG; replaced if it is there.

    Raises:
        PlotError: There is no matplotlib.
    """
    width, height = 5.0 * len(METRICS) + 1.5, 3.6 * len(curves)
    figure = _figure()(figsize=(width, height), layout="constrained")
    panels = figure.subplots(len(curves), len(METRICS), squeeze=False)
    for row, (log, by_name) in zip(panels, curves.items(), strict=True):
        for axes, metric in zip(row, METRICS, strict=True):
            for name, deciles in by_name.items():
                # A tenth without a test leaves a gap: 0 would be a figure.
                heights = [each[metric] if each["tested"] else nan for each in deciles]
                axes.plot(range(1, len(deciles) + 1), heights, label=name)
            axes.set_title(f"{log}: {metric.upper()}")
            axes.set_xlabel("tenth of the tested stream")
            axes.set_xticks(range(1, 11))
            axes.set_ylim(bottom=0.0)
            axes.grid(alpha=0.3)
        row[-1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=120)


def _figure() -> Any:
    try:
        # Not pyplot: it looks for a screen, and keeps every figure.
        from matplotlib.figure import Figure
    except ImportError as error:
        message = "--plot needs matplotlib: pip install 'headwater[evaluation]'"
        raise PlotError(message) from error
    return Figure
