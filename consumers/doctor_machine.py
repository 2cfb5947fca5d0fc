"""This machine for ``doctor``: processor and GPU, packages, the folder of snapshots."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from consumers.configuration import snapshot_place
from consumers.findings import Finding
from consumers.rankers import load_network
from consumers.snapshot_objects import ObjectFolder
from consumers.snapshots import refuse_half_url
from stream.errors import ConfigurationError, ServerUnreachable
from stream.settings import Settings

# Snapshots of a partition at its bound are some hundred MB, and several are kept.
_LEAST_FREE_BYTES = 2**30
_GIB = 2**30
_OLDEST_PYTHON = (3, 11)
# An installed wheel has neither constraints.txt nor pyproject.toml there.
_CHECKOUT = Path(__file__).resolve().parents[1]


def look_at_machine(settings: Settings) -> list[Finding]:
    """Return the findings about this machine."""
    return [
        *_look_at_device(settings),
        _look_at_weights(settings),
        *_look_at_packages(_CHECKOUT / "constraints.txt"),
        look_at_snapshots(settings),
    ]


def _look_at_device(settings: Settings) -> list[Finding]:
    import torch  # Here, so that no other command waits for it.

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    ranking = settings.ranking
    text = f"{cores} core(s) for this process, {ranking.torch_threads} torch thread(s)"
    is_over = ranking.torch_threads > (cores or 1)
    findings = [
        Finding(
            check="device.cpu",
            status="warn" if is_over else "ok",
            text=text,
            advice="lower HEADWATER_RANKING__TORCH_THREADS" if is_over else "",
        )
    ]
    has_cuda = torch.cuda.is_available()
    return [*findings, judge_cuda(has_cuda, _cuda_name() if has_cuda else "", ranking.device)]


def _cuda_name() -> str:
    import torch

    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / _GIB:.0f} GiB"


def judge_cuda(has_cuda: bool, name: str, wanted: str) -> Finding:
    """Judge the GPU: none is no fault, unless a setting asks for one."""
    if has_cuda:
        return Finding(check="device.cuda", status="ok", text=f"CUDA: {name}")
    if wanted == "cuda":
        return Finding(
            check="device.cuda",
            status="fail",
            text="HEADWATER_RANKING__DEVICE=cuda, but torch finds no CUDA device",
            advice="set it to auto or cpu, or make the GPU and its driver visible (nvidia-smi)",
        )
    text = "no CUDA device: the network runs on the processor"
    return Finding(check="device.cuda", status="info", text=text)


def _look_at_weights(settings: Settings) -> Finding:
    ranking = settings.ranking
    if ranking.weights is None and ranking.ranker != "network":
        text = "no weights are set: lists are ranked by fusion"
        return Finding(check="weights", status="info", text=text)
    try:
        network = load_network(settings)
    except (ConfigurationError, OSError, RuntimeError) as error:
        return Finding(
            check="weights",
            status="fail",
            text=str(error),
            advice="train with `headwater train LOG --out FOLDER`, or unset "
            "HEADWATER_RANKING__WEIGHTS",
        )
    return Finding(check="weights", status="ok", text=f"{network.name} loads")


def _look_at_packages(constraints: Path) -> list[Finding]:
    is_old = sys.version_info[:2] < _OLDEST_PYTHON
    python = ".".join(map(str, sys.version_info[:3]))
    findings = [
        Finding(
            check="packages.python",
            status="fail" if is_old else "ok",
            text=f"Python {python}",
            advice="Headwater needs 3.11 or newer" if is_old else "",
        )
    ]
    return [*findings, *judge_packages(_requirements(), _read_constraints(constraints))]


def _requirements() -> list[str]:
    """Return what the distribution requires, or the checkout where it is not installed."""
    try:
        return distribution("headwater").requires or []
    except PackageNotFoundError:
        project = tomllib.loads((_CHECKOUT / "pyproject.toml").read_text())["project"]
        return list(project["dependencies"])


def _read_constraints(path: Path) -> dict[str, str]:
    """Return ``package -> version`` of what the tests ran with; empty outside of a checkout."""
    if not path.is_file():
        return {}
    lines = (line.split("==") for line in path.read_text().splitlines() if "==" in line)
    return {name.strip(): wanted.strip() for name, wanted in lines}


def judge_packages(required: Iterable[str], tested: dict[str, str]) -> list[Finding]:
    """Compare what is installed with what is required, and with what the tests ran with.

    Args:
        required: Requirements of the distribution, as its metadata has them; extras are skipped.
        tested: ``package -> version``.
    """
    findings, names = [], []
    for requirement in required:
        if "extra ==" in requirement:
            continue
        found = re.match(r"([\w.-]+)(?:\[[^\]]*\])?\s*(==|>=)?\s*([\w.]*)", requirement)
        if found is None:
            continue
        name, sign, wanted = found.groups()
        names.append(name)
        came = _installed(name)
        if came is not None and _satisfies(came, sign, wanted):
            continue
        findings.append(
            Finding(
                check="packages.required",
                status="fail",
                text=f"{name}: expected {sign or ''}{wanted}, found {came or 'none'}",
                advice=f"pip install '{name}{sign or ''}{wanted}'",
            )
        )
    others = [
        f"{name} {_installed(name)} (tested: {tested[name]})"
        for name in names
        if name in tested and _installed(name) not in (None, tested[name])
    ]
    if others:
        findings.append(
            Finding(
                check="packages.tested",
                status="warn",
                text=f"other versions than the tests ran with: {', '.join(others)}",
                advice="pip install --constraint constraints.txt --editable .",
            )
        )
    if not findings:
        text = f"{len(names)} packages as required" + (" and tested" if tested else "")
        findings.append(Finding(check="packages", status="ok", text=text))
    return findings


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _satisfies(came: str, sign: str | None, wanted: str) -> bool:
    if sign == "==":
        return came == wanted
    return sign is None or _release(came) >= _release(wanted)


def _release(text: str) -> tuple[int, ...]:
    """Return the numbers of a version, what follows them left out.

    >>> _release("2.13.0+cu130") >= _release("2.6")
    True
    """
    numbers = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, numbers.group().split("."))) if numbers else ()


def look_at_snapshots(settings: Settings) -> Finding:
    """Find out whether snapshots can be written, or, in an object store, be listed."""
    try:
        place = str(snapshot_place(settings))
        refuse_half_url(place)
        if "://" not in place:
            return look_at_folder(Path(place))
        files = ObjectFolder(place)
        num_objects = len(files.list())
        is_there = bool(num_objects) or files.has_bucket()
    except (ConfigurationError, ServerUnreachable) as error:
        advice = "see HEADWATER_WORKER__SNAPSHOTS, and the driver's credentials"
        return Finding(check="snapshots", status="fail", text=str(error), advice=advice)
    if not is_there:
        text = f"{files.place}: expected its bucket to be there, found none"
        advice = "make it, or correct HEADWATER_WORKER__SNAPSHOTS"
        return Finding(check="snapshots", status="fail", text=text, advice=advice)
    text = f"{files.place}: can be listed, {num_objects} objects"
    return Finding(check="snapshots", status="ok", text=text, advice="")


def look_at_folder(folder: Path) -> Finding:
    """Find out whether snapshots can be written; leaves nothing behind."""
    check = "snapshots"
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"headwater")
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Finding(
            check=check,
            status="fail",
            text=f"{folder}: cannot be written ({error.strerror or error})",
            advice="set HEADWATER_DATA_DIR to a folder that this user may write",
        )
    is_short = free < _LEAST_FREE_BYTES
    return Finding(
        check=check,
        status="warn" if is_short else "ok",
        text=f"{folder}: can be written, {free / _GIB:.1f} GiB free",
        advice="make room, or set HEADWATER_DATA_DIR to another disk" if is_short else "",
    )
