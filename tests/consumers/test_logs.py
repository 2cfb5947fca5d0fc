"""A log by name: files, folders of data sets, their items, and what is neither."""

from pathlib import Path

import pytest

from consumers.logs import data_set_of, read_announcements, read_lines, read_records
from stream.errors import ConfigurationError
from tests.evaluation.data_set_samples import SAMPLES, write


def lines_of(name: Path | str, limit: int | None = None) -> list[bytes]:
    return [line for block in read_lines(str(name), limit=limit) for line in block]


def test_a_folder_and_its_file_are_the_same_log(tmp_path: Path) -> None:
    folder = write(tmp_path, SAMPLES["movielens-100k"][0])
    assert lines_of(folder) == lines_of(folder / "u.data")
    assert len(lines_of(folder, limit=1)) == 1
    known = data_set_of(str(folder / "u.data"))
    assert known is not None and (known[0].name, known[1]) == ("movielens-100k", folder)


def test_a_wire_log_is_no_data_set(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"user_id":"a","ts":1}\n{"user_id":"b","ts":2}\n')
    assert data_set_of(str(log)) is None
    assert data_set_of("-") is None
    assert len(lines_of(log)) == 2
    assert [line for block in read_lines(str(log), limit=1) for line in block] == [
        b'{"user_id":"a","ts":1}'
    ]


def test_records_of_a_data_set_have_keys_and_times(tmp_path: Path) -> None:
    folder = write(tmp_path, SAMPLES["yoochoose"][0])
    records = [record for block in read_records(str(folder)) for record in block]
    assert [(record[0], record[2]) for record in records] == [
        (1399360089010, b"2"),
        (1399360089011, b"1"),
    ]


def test_items_of_a_data_set_are_announcements(tmp_path: Path) -> None:
    folder = write(tmp_path, SAMPLES["globo"][0])
    announcements = read_announcements(str(folder))
    assert announcements is not None and len(announcements) == 1
    assert announcements.take(1506819999999) is None
    assert announcements.take(1506820000000) is not None
    assert read_announcements(None) is None


def test_what_does_not_fit_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected a wire log or the files of a known"):
        lines_of(tmp_path)
    write(tmp_path, {"u.data": "1\t2\n"})
    with pytest.raises(ConfigurationError, match=r"u\.data, line 1: expected 4 columns, got 2"):
        lines_of(tmp_path)
    with pytest.raises(ConfigurationError, match=r"u\.data, line 1: expected 4 columns, got 2"):
        read_announcements(str(tmp_path))
    with pytest.raises(ConfigurationError, match="found nothing"):
        lines_of(tmp_path / "none.jsonl")


def test_a_file_without_items_is_no_items_log(tmp_path: Path) -> None:
    item = '{"item_id":"i","author_id":"a","created_at":1}\n'
    event = '{"event_id":"e","type":"like","user_id":"u","item_id":"i","ts":1}\n'
    log = tmp_path / "items.jsonl"
    for text in (event * 3, "\x00\xff\n", "[]\n"):
        log.write_text(text, encoding="latin-1")
        with pytest.raises(
            ConfigurationError, match="items.jsonl: expected an items log .* line 1: "
        ):
            read_announcements(str(log))
    for text, count in (
        ("", 0),
        (event + item, 2),
        ('{"item_id":"i","status":"removed","ts":2}\n', 1),
    ):
        log.write_text(text)
        found = read_announcements(str(log))
        assert found is not None and len(found) == count
