"""Adapters on hand-made files in the layouts of the public sets (no row is from the data)."""

import gzip
import json
from pathlib import Path

import pytest

from evaluation.adapters import AdapterError, recognise, wire_lines
from stream.decode import decode_events
from stream.slab import Slab


def write(folder: Path, **files: str) -> Path:
    """Write text files; ``_gz`` at a name's end stands for ``.csv.gz``."""
    for name, text in files.items():
        if name.endswith("_gz"):
            path = folder / name.replace("_gz", ".csv.gz")
            path.write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name.replace("__", "-").replace("_", ".")).write_text(text)
    return folder


def events(folder: Path, limit: int | None = None) -> list[dict[str, object]]:
    lines = wire_lines(folder, limit=limit)
    assert not decode_events(Slab.from_values(lines)).rejected
    return [json.loads(line) for line in lines]


def test_ratings_become_watches_by_time(tmp_path: Path) -> None:
    write(
        tmp_path,
        ratings_gz="user_id,item_id,rating,timestamp\n7,3,5.0,30\n8,4,1.0,20\n7,4,3.0,20\n",
        ml__100k_item="",
    )
    assert recognise(tmp_path).name == "ml-100k"
    assert not recognise(tmp_path).repeats
    found = events(tmp_path)
    assert [each["event_id"] for each in found] == ["1", "2", "0"]
    assert found[0] == {
        "event_id": "1", "type": "watch", "user_id": "8", "item_id": "4", "ts": 20_000,
        "watch_ms": 12_000, "duration_ms": 60_000,
    }  # fmt: skip
    assert [each["watch_ms"] for each in found] == [12_000, 36_000, 60_000]


def test_a_limit_takes_the_first_by_time(tmp_path: Path) -> None:
    write(
        tmp_path,
        ratings_gz="user_id,movie_id,rating,timestamp\n1,1,10,30\n1,2,5,10\n1,3,8,20\n",
        movies_dat="",
    )
    assert recognise(tmp_path).name == "movietweetings-100k"
    assert [each["item_id"] for each in events(tmp_path, limit=2)] == ["2", "3"]


def test_article_actions_keep_their_kind(tmp_path: Path) -> None:
    kinds = ("VIEW", "LIKE", "COMMENT CREATED", "BOOKMARK", "FOLLOW")
    text = "timestamp,eventType,contentId,personId,extra\n"
    text += "".join(f"{at},{kind},-5,-9,x\n" for at, kind in enumerate(kinds))
    found = events(write(tmp_path, events_gz=text))
    assert [each["type"] for each in found] == ["watch", "like", "comment", "share", "like"]
    assert (found[0]["watch_ms"], found[0]["duration_ms"]) == (20_000, 30_000)
    assert "watch_ms" not in found[1]
    assert (found[0]["user_id"], found[0]["item_id"]) == ("-9", "-5")


def test_sessions_of_two_files_are_two_users(tmp_path: Path) -> None:
    text = "SessionId,ItemId,Time\n1,9,10.25\n"
    found = events(write(tmp_path, train_full_gz=text, test_gz=text.replace("10.25", "11")))
    assert [each["user_id"] for each in found] == ["train-1", "test-1"]
    assert [each["ts"] for each in found] == [10_250, 11_000]
    assert [each["event_id"] for each in found] == ["0", "1"]


def test_news_clicks_have_milliseconds(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"user_id": [1, 2], "item_id": [5, 6], "ts": [2_000, 1_500]})
    parquet.write_table(table, tmp_path / "clicks.parquet")
    found = events(tmp_path)
    assert [(each["user_id"], each["item_id"], each["ts"]) for each in found] == [
        ("2", "6", 1_500),
        ("1", "5", 2_000),
    ]
    assert found[0]["watch_ms"] == found[0]["duration_ms"] == 30_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", r"line 1: expected columns .*; user_id, .* missing from an empty file"),
        (
            "user_id,item_id,rating\n",
            r"line 1: .*; timestamp missing from user_id, item_id",
        ),
        ("user_id,item_id,rating,timestamp\n1,2,3\n", r"line 2: expected 4 columns, got 3"),
        (
            "user_id,item_id,rating,timestamp\n1,2,3,4\n1,2,six,4\n",
            r"line 3, column rating: expected a number from 0 to 5, got 'six'",
        ),
        (
            "user_id,item_id,rating,timestamp\n1,2,3,nan\n",
            r"line 2, column timestamp: expected a number from 0 to .*, got 'nan'",
        ),
        (
            "user_id,item_id,rating,timestamp\n1,2,3,4102444800001\n",
            r"line 2, column timestamp: expected a number",
        ),
    ],
)
def test_errors_name_file_line_and_column(tmp_path: Path, text: str, expected: str) -> None:
    write(tmp_path, ratings_gz=text, ml__100k_item="")
    with pytest.raises(AdapterError, match=rf"ratings\.csv\.gz, {expected}"):
        wire_lines(tmp_path)


def test_an_unknown_kind_of_action_is_named(tmp_path: Path) -> None:
    text = "timestamp,eventType,contentId,personId\n1,VIEW,2,3\n2,SING,2,3\n"
    with pytest.raises(AdapterError, match=r"line 3, column eventType: expected .*got 'SING'"):
        wire_lines(write(tmp_path, events_gz=text))


def test_other_parquet_files_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "clicks.parquet").write_bytes(b"no parquet")
    with pytest.raises(AdapterError, match=r"clicks\.parquet: expected a parquet file"):
        wire_lines(tmp_path)


def test_an_unknown_folder_says_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"known data set \(ml-100k: ratings\.csv\.gz"):
        wire_lines(tmp_path)
