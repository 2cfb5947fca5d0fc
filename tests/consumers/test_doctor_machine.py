"""This machine: a GPU is no must, packages are compared, the folder of snapshots is written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumers.configuration import load_settings, make_snapshot_store
from consumers.doctor_machine import (
    judge_cuda,
    judge_packages,
    look_at_folder,
    look_at_machine,
    look_at_snapshots,
)
from consumers.findings import Finding
from stream.errors import ConfigurationError
from tests.consumers.snapshot_places import s3


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {each.check: each for each in findings}


@pytest.mark.parametrize("wanted", ["auto", "cpu"])
def test_no_gpu_is_no_failure(wanted: str) -> None:
    found = judge_cuda(False, "", wanted)
    assert found.status == "info" and "processor" in found.text


def test_no_gpu_where_one_is_asked_for_is_a_failure() -> None:
    found = judge_cuda(False, "", "cuda")
    assert found.status == "fail" and "auto or cpu" in found.advice
    assert judge_cuda(True, "H200", "cuda").status == "ok"


def test_packages_are_compared_with_what_is_required_and_tested() -> None:
    required = ["numpy>=2.0", "aiokafka[lz4]==0.14.0", "pytest>=8; extra == 'dev'"]
    (fine,) = judge_packages(required, {})
    assert fine.status == "ok" and fine.text.startswith("2 packages")
    found = by_check(judge_packages([*required, "numpy>=99.1", "no-such-package"], {}))
    assert found["packages.required"].status == "fail"
    texts = [each.text for each in judge_packages(["numpy>=99.1", "no-such-package"], {})]
    assert "expected >=99.1, found 2." in texts[0] and "found none" in texts[1]
    (other,) = judge_packages(["numpy>=2.0"], {"numpy": "2.0.0"})
    assert other.status == "warn" and "tested: 2.0.0" in other.text


def test_a_folder_is_written_to_and_left_as_it_was(tmp_path: Path) -> None:
    found = look_at_folder(tmp_path / "not" / "there" / "snapshots")
    assert found.status in ("ok", "warn") and "GiB free" in found.text
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = look_at_folder(tmp_path / "file" / "snapshots")
    assert found.status == "fail" and "HEADWATER_DATA_DIR" in found.advice


@pytest.mark.parametrize("place", ["memory://snapshots", "simplecache::memory://snapshots"])
def test_snapshots_that_end_with_the_worker_are_refused(place: str) -> None:
    settings = load_settings([f"worker.snapshots={place}"])
    with pytest.raises(ConfigurationError, match="WORKER__SNAPSHOTS: .*outlives the worker"):
        make_snapshot_store(settings)
    found = look_at_snapshots(settings)
    assert found.status == "fail" and "outlives the worker" in found.text


def test_a_url_that_lacks_a_slash_is_no_folder() -> None:
    found = look_at_snapshots(load_settings(["worker.snapshots=s3:/bucket"]))
    assert found.status == "fail" and "a URL with ://" in found.text


@pytest.mark.parametrize("protocol", ["", "file://", "local://"])
def test_a_folder_by_any_name_is_written_as_one(tmp_path: Path, protocol: str) -> None:
    settings = load_settings([f"worker.snapshots={protocol}{tmp_path}/here"])
    assert make_snapshot_store(settings).place == f"{tmp_path}/here"
    assert "can be written" in look_at_snapshots(settings).text


def test_a_bucket_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    with s3(tmp_path) as place:
        found = look_at_snapshots(load_settings([f"worker.snapshots={place.url}"]))
        assert found.status == "ok" and "0 objects" in found.text
        wrong = place.url.replace("s3://", "s3://no-")
        found = look_at_snapshots(load_settings([f"worker.snapshots={wrong}"]))
        assert found.status == "fail" and "bucket" in found.text


def test_weights_that_do_not_load_are_a_failure(tmp_path: Path) -> None:
    base = [f"data_dir={tmp_path}"]
    assert by_check(look_at_machine(load_settings(base)))["weights"].status == "info"
    missing = load_settings([*base, f"ranking.weights={tmp_path}"])
    found = by_check(look_at_machine(missing))["weights"]
    assert found.status == "fail" and "headwater train" in found.advice
    demo = Path(__file__).parents[2] / "models" / "demo_weights"
    fine = load_settings([*base, f"ranking.weights={demo}", "ranking.device=cpu"])
    assert by_check(look_at_machine(fine))["weights"].status == "ok"
