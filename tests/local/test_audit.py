"""What an audit's report means; a source that knows nothing is no all-clear."""

from __future__ import annotations

from local.audit import verdict

KNOWN = {"name": "a", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
GOOD = {"name": "b", "version": "2.0", "vulns": []}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


def test_what_is_known_against_a_package_fails_with_the_way_out() -> None:
    code, lines = verdict({"dependencies": [KNOWN, GOOD, SKIPPED]})
    assert code == 1 and lines == ["a 1.0: PYSEC-1, mended in 1.1"]


def test_a_source_that_knows_no_package_is_no_all_clear() -> None:
    code, lines = verdict({"dependencies": [SKIPPED, SKIPPED]})
    assert code == 0 and lines[0].startswith("not audited") and "2 packages" in lines[0]


def test_a_package_that_was_skipped_is_named() -> None:
    code, lines = verdict({"dependencies": [GOOD, SKIPPED]})
    assert code == 0 and lines == [
        "1 packages audited, nothing known against them",
        "not audited: c",
    ]
