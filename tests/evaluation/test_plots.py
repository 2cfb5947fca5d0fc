"""Learning curves: a PNG with matplotlib, a clear word without it or where it cannot be written."""

import sys
from pathlib import Path

import pytest

from evaluation.plots import PlotError, check_plot, plot_curves

DECILES = [{"tested": place % 9, "hr@10": place / 10, "ndcg@10": place / 20} for place in range(10)]


def test_a_png_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra evaluation")
    path = tmp_path / "curves.png"
    check_plot(path)
    plot_curves({"one": {"fusion": DECILES, "recent": DECILES}, "two": {"fusion": DECILES}}, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
    assert "matplotlib.pyplot" not in sys.modules


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotError, match=r"pip install 'headwater\[evaluation\]'"):
        check_plot(tmp_path / "curves.png")


def test_what_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(PlotError, match=r"expected a file that ends in \.png, got curves\.gif"):
        check_plot(Path("curves.gif"))
    with pytest.raises(PlotError, match="expected a folder for"):
        check_plot(tmp_path / "none" / "curves.png")
