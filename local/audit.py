"""Ask pip-audit about every pinned package: ``python -m local.audit REQUIREMENTS``; ``make audit``.

pip-audit lives in an environment of its own, made here: what audits is not what is audited. It
calls a package that its source does not know skipped, and ends well; a source that knows nothing
(a mirror without the advisory API) would so look like an all-clear. Here it is called not audited.

Exit codes: 0 nothing is known against what could be audited, or nothing could be (which is said);
1 something is known against a package.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PIP_AUDIT = "pip-audit==2.10.1"
_TIMEOUT_S = 600.0


def verdict(report: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Return the exit code and the lines that say what pip-audit's report means.

    >>> verdict({"dependencies": [{"name": "a", "version": "1", "vulns": []}]})
    (0, ['1 packages audited, nothing known against them'])
    >>> verdict({"dependencies": [{"name": "a", "skip_reason": "not found"}]})
    (0, ['not audited: its source knows none of the 1 packages (a: not found)'])
    """
    packages = report["dependencies"]
    skipped = [each for each in packages if "skip_reason" in each]
    audited = len(packages) - len(skipped)
    lines = [
        f"{each['name']} {each['version']}: {vulnerability['id']}, mended in "
        f"{', '.join(vulnerability.get('fix_versions') or ['no release yet'])}"
        for each in packages
        for vulnerability in each.get("vulns", ())
    ]
    if lines:
        return 1, lines
    if not audited:
        why = f" ({skipped[0]['name']}: {skipped[0]['skip_reason']})" if skipped else ""
        text = f"not audited: its source knows none of the {len(packages)} packages{why}"
        return 0, [text]
    lines = [f"{audited} packages audited, nothing known against them"]
    if skipped:
        lines.append(f"not audited: {', '.join(each['name'] for each in skipped)}")
    return 0, lines


def main(requirements: Path, folder: Path) -> int:
    """Make the tool's environment where it is missing, audit, print; return the exit code."""
    tool = folder / "bin" / "pip-audit"
    if not tool.exists():
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", PIP_AUDIT]
        if subprocess.run(pip, check=False, timeout=_TIMEOUT_S).returncode:
            sys.stderr.write(f"not audited: {PIP_AUDIT} cannot be installed\n")
            return 0
    done = subprocess.run(
        [str(tool), "--requirement", str(requirements), "--no-deps", "--disable-pip"]
        + ["--format", "json", "--progress-spinner", "off"],
        capture_output=True,
        check=False,
        timeout=_TIMEOUT_S,
        text=True,
    )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        sys.stderr.write(f"not audited: {reason[:300]}\n")
        return 0
    code, lines = verdict(report)
    sys.stderr.write("\n".join(lines) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
