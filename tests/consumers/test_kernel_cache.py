"""Compiled kernels belong to the sources they were compiled from."""

import os
import time

from consumers import kernel_cache


def rooms(root):
    for room in ("state", "stream", "consumers"):
        (root / room).mkdir(parents=True)
    (root / "state" / "a.py").write_text("A = 1\n")
    return root


def test_any_changed_source_gives_another_folder(tmp_path):
    root = rooms(tmp_path)
    before = kernel_cache.source_hash(root)
    assert kernel_cache.source_hash(root) == before
    (root / "stream" / "b.py").write_text("B = 1\n")
    assert kernel_cache.source_hash(root) != before


def test_the_callers_own_folder_wins(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kernel_cache.use_kernel_cache()
    assert not (tmp_path / "cache").exists()


def test_old_folders_make_room(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kernel_cache.numba.config, "CACHE_DIR", "")
    days_ago = (30, 20, 10, 6, 5, 0)
    for days in days_ago:
        folder = tmp_path / "headwater" / f"kernels-{days}"
        folder.mkdir(parents=True)
        used_s = time.time() - days * 86_400.0
        os.utime(folder, (used_s, used_s))
    kernel_cache.use_kernel_cache()
    left = list((tmp_path / "headwater").glob("kernels-*"))
    assert {int(path.name.rpartition("-")[2]) for path in left if len(path.name) < 12} == {6, 5, 0}
    assert kernel_cache.numba.config.CACHE_DIR in {str(path) for path in left}
