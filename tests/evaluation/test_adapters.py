"""Adapters on hand-made files in the layouts of the public sets (no row is from the data)."""

import gzip
import json
from pathlib import Path

import pytest

from evaluation.adapters import (
    DATA_SETS,
    AdapterError,
    folder_of,
    item_lines,
    recognise,
    wire_blocks,
    wire_lines,
)
from stream.decode import decode_events
from stream.decode_items import decode_items
from stream.slab import Slab
from tests.evaluation.data_set_samples import ITEMS, SAMPLES, write

each_sample = pytest.mark.parametrize("name", SAMPLES)
FIELDS = ("event_id", "type", "user_id", "item_id", "ts", "watch_ms", "duration_ms")
# Data sets that are read with something else than text, tested apart.
APART = {"news-clicks"}


def events(folder: Path, limit: int | None = None) -> list[dict[str, object]]:
    lines = wire_lines(folder, limit=limit)
    assert not decode_events(Slab.from_values(lines)).rejected
    return [json.loads(line) for line in lines]


def test_every_data_set_has_a_sample_and_a_page() -> None:
    names = {each.name for each in DATA_SETS}
    assert names == set(SAMPLES) | APART
    assert {each.name for each in DATA_SETS if each.read_items} == {*ITEMS, "movielens-100k"}
    page = (Path(__file__).parents[2] / "docs" / "data-sets.md").read_text()
    assert names <= {line.split("`")[1] for line in page.splitlines() if line.startswith("### `")}


@each_sample
def test_a_data_set_becomes_events_ordered_by_time(name: str, tmp_path: Path) -> None:
    files, expected = SAMPLES[name]
    folder = write(tmp_path, files)
    assert recognise(folder).name == name
    found = [tuple(each.get(field, -1) for field in FIELDS) for each in events(folder)]
    assert found == expected


@each_sample
def test_zipped_files_are_read_alike(name: str, tmp_path: Path) -> None:
    files, _ = SAMPLES[name]
    plain = write(tmp_path / "plain", files)
    zipped = write(
        tmp_path / "zipped",
        {f"{file.removesuffix('.gz')}.gz": text for file, text in files.items()},
    )
    assert recognise(zipped).name == name
    assert wire_lines(zipped) == wire_lines(plain)


@pytest.mark.parametrize("name", ITEMS)
def test_items_are_announced_when_they_can_be_known(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path, SAMPLES[name][0])
    lines = list(item_lines(folder))
    assert not decode_items(Slab.from_records([(None, line) for line in lines])).rejected
    found = [json.loads(line) for line in lines]
    names = ("item_id", "author_id", "created_at", "ts")
    assert [
        (*(each[field] for field in names), each.get("title", ""), each.get("category", ""),
         each.get("tags", []))
        for each in found
    ] == ITEMS[name]  # fmt: skip


def test_genres_of_u_item_are_flags_in_latin_1(tmp_path: Path) -> None:
    flags = ["0"] * 19
    flags[8] = flags[17] = "1"
    row = "|".join(["3", "Café (1995)", "01-Jan-1995", "", "http://x", *flags])
    (tmp_path / "u.item").write_bytes(f"{row}\n".encode("latin-1"))
    write(tmp_path, {"u.data": "7\t3\t5\t30\n"})
    (item,) = map(json.loads, item_lines(tmp_path))
    assert (item["title"], item["tags"]) == ("Café (1995)", ["Drama", "War"])
    (tmp_path / "u.item").write_text(f"{row.replace('|1', '|2')}\n")
    with pytest.raises(AdapterError, match=r"u\.item, line 1, column Drama: expected 0 or 1"):
        list(item_lines(tmp_path))


@pytest.mark.parametrize(("other", "encoding"), [("users.dat", "latin-1"), ("tags.dat", "utf-8")])
def test_titles_of_movies_dat_are_read_as_1m_and_10m_write_them(
    other: str, encoding: str, tmp_path: Path
) -> None:
    write(tmp_path, {"ratings.dat": "1::20::4::5\n", other: "1::20::one::5::6\n"})
    (tmp_path / "movies.dat").write_bytes("20::Élan (1999)::Drama\n".encode(encoding))
    (line,) = item_lines(tmp_path)
    assert json.loads(line)["title"] == "Élan (1999)"


def test_a_set_without_items_says_so(tmp_path: Path) -> None:
    folder = write(tmp_path, SAMPLES["yoochoose"][0])
    with pytest.raises(AdapterError, match=r"a file of items; yoochoose has none"):
        list(item_lines(folder))


def test_an_impression_names_its_list(tmp_path: Path) -> None:
    found = events(write(tmp_path, SAMPLES["mind"][0]))
    assert [each.get("request_id") for each in found] == [None, None, "3", "1", "2", "2"]
    first_ms = recognise(tmp_path).tested_from
    assert first_ms is not None and first_ms(tmp_path) == found[2]["ts"]


def test_a_limit_takes_the_first_by_time(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        {"ratings.csv": "user_id,movie_id,rating,timestamp\n1,1,10,30\n1,2,5,10\n1,3,8,20\n",
         "movies.dat": ""},
    )  # fmt: skip
    assert [each["item_id"] for each in events(folder, limit=2)] == ["2", "3"]
    assert [len(block) for block in wire_blocks(folder, block_lines=2)] == [2, 1]


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
    assert (recognise(tmp_path).every, recognise(tmp_path).warmup_hours) == (10, 24.0)


LATEST = "movielens-latest"
CLICKS = "yoochoose-clicks.dat"
RATINGS = "userId,movieId,rating,timestamp\n"
CLICK = b"1,2014-05-06T07:08:09.011Z,214,0\n"
BEHAVIOUR = "1\tU1\t11/15/2019 9:00:01 AM\tN1\tN2-1\n"
# Data set, file, text, what the error says after the file's name.
MISFITS = [
    ("ml-100k", "ratings.csv.gz", "", r"line 1: .*; user_id, .* missing from an empty file"),
    ("ml-100k", "ratings.csv.gz", "user_id,item_id,rating\n", r"line 1: .*; timestamp missing"),
    (LATEST, "ratings.csv", RATINGS, r"line 1: expected rows, got none"),
    (LATEST, "ratings.csv", RATINGS + "1,2,3\n",
     r"line 2: expected 4 columns, got 3, nothing for timestamp"),
    (LATEST, "ratings.csv", RATINGS + "1,2,3,1_000\n", r"line 2, column timestamp: .*'1_000'"),
    (LATEST, "ratings.csv", RATINGS + '1,2,3,4\n1,"2,3,4\n' + "1,2,3,4\n" * 9,
     r"line 3: .* unexpected end of data up to line 12: is a quote closed"),
    (LATEST, "ratings.csv", RATINGS + "1,2,3,4\n\n", r"line 3: expected 4 columns"),
    (
        LATEST, "ratings.csv", RATINGS + "1,2,3,4\n1,2,six,4\n",
        r"line 3, column rating: expected a number from 0 to 5, got 'six'",
    ),
    (LATEST, "ratings.csv", RATINGS + "1,2,3,nan\n", r"line 2, column timestamp: .*'nan'"),
    (
        LATEST, "ratings.csv", RATINGS + "1,2,3,4102444800001\n",
        r"line 2, column timestamp: expected a number",
    ),
    (LATEST, "ratings.csv", RATINGS + ",2,3,4\n", r"line 2, column userId: expected an id"),
    (
        LATEST, "ratings.csv", RATINGS + f"1,{'x' * 65},3,4\n",
        r"line 2, column movieId: expected an id of 1 to 64",
    ),
    (LATEST, "ratings.csv", RATINGS + '1,"2,3,4\n', r"line 2: expected fields between ','"),
    ("movielens-100k", "u.data", "1\t2\t3\n", r"line 1: expected 4 columns, got 3"),
    ("movielens-1m", "ratings.dat", "1::2::6::4\n",
     r"line 1, column Rating: .* from 0 to 5, got '6'"),
    ("movielens-1m", "ratings.dat", "", r"line 1: expected rows, got none"),
    ("article-actions", "events.csv.gz", "timestamp,eventType,contentId,personId\n2,SING,2,3\n",
     r"line 2, column eventType: expected one of VIEW, .*got 'SING'"),
    ("retailrocket", "events.csv", "timestamp,visitorid,event,itemid\n5,1,sing,9\n",
     r"line 2, column event: expected one of view, addtocart, transaction, got 'sing'"),
    ("mind", "behaviors.tsv", BEHAVIOUR.replace("AM", "XM"),
     r"line 1, column Time: expected a time"),
    ("mind", "behaviors.tsv", BEHAVIOUR.replace("11/15", "15/11"),
     r"line 1, column Time: .*'15/11"),
    ("mind", "behaviors.tsv", BEHAVIOUR.replace("N2-1", "N2"),
     r"line 1, column Impressions: .*'N2'"),
    ("globo", "clicks/clicks_hour_001.csv", "user_id,click_article_id\n1,2\n",
     r"line 1: .*click_timestamp"),
    ("adressa", "20170102", '{"id":"a","time":1}\n',
     r"line 1, column userId: expected a text .* None"),
    ("adressa", "20170102", "[]\n", r"line 1: expected a JSON object, got list"),
    ("adressa", "20170102", '{"id"\n',
     r"line 1: expected a JSON object, got Input data was truncated"),
    ("adressa", "20170102", "", r"line 1: expected JSON objects, one a line, got an empty file"),
    ("yoochoose", CLICKS, "1,yesterday,2,0\n", r"line 1, column Timestamp: .*'yesterday'"),
    ("yoochoose", CLICKS, "1,1914-04-07,2,0\n", r"line 1, column Timestamp: .*1970 to"),
    ("kuairec", "data/big_matrix.csv", "user_id,video_id\n",
     r"line 1: .*play_duration, .* missing"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "text", "expected"), MISFITS)
def test_errors_name_file_line_and_column(
    name: str, file: str, text: str, expected: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, {**SAMPLES[name][0], file: text})
    with pytest.raises(AdapterError, match=rf"{Path(file).name}, {expected}"):
        wire_lines(folder)


def test_a_flag_that_is_none_is_named(tmp_path: Path) -> None:
    files = dict(SAMPLES["kuairand"][0])
    name = "log_standard_4_08_to_4_21_pure.csv"
    files[name] = files[name].replace("2000,1,1,", "2000,1,2,")
    with pytest.raises(AdapterError, match=r"pure\.csv, line 2, column is_like: .* got '2'"):
        wire_lines(write(tmp_path, files))


@pytest.mark.parametrize(
    ("name", "file", "data", "expected"),
    [
        ("movielens-latest", "ratings.csv", RATINGS.encode() + b"1,2,3,4\n1,\xff,3,4\n",
         r"line 3: expected text in utf-8 in column movieId, got the bytes b'\\xff,3,'"),
        ("movielens-latest", "ratings.csv", RATINGS.encode() + b'"1,2",2,\xff,4\n',
         r"line 2: expected text in utf-8 in column rating, got"),
        ("movielens-latest", "ratings.csv", RATINGS.encode() + b"\xff1,2,3,4\n",
         r"line 2: expected text in utf-8 in column userId, got"),
        ("movielens-latest", "ratings.csv", RATINGS.encode("utf-16"),
         r"line 1: expected text in utf-8 in field 1, got the bytes b'\\xff\\xfe"),
        ("adressa", "20170101", b'{"id": "a, b, \xff"}\n',
         r"line 1: expected text in utf-8 at byte 15, got"),
        ("movielens-100k", "u.data", b"1\t\xe9\t3\t4\n",
         r"line 1: expected text in utf-8 in column item_id"),
        ("yoochoose", "yoochoose-clicks.dat.gz", b"no gzip",
         r"line 1: expected a readable file, got Not a gzipped file"),
        ("yoochoose", "yoochoose-clicks.dat.gz", gzip.compress(CLICK * 999, mtime=0)[:60],
         r"line \d+: expected a readable file, got Compressed file ended"),
        ("yoochoose", "yoochoose-clicks.dat.gz", gzip.compress(b"", mtime=0)[:10] + b"\x07" * 40,
         r"line 1: expected a readable file, got Error -3 while decompressing"),
        ("yoochoose", CLICKS, b"1" * 1_100_000, r"line 1: expected at most 1048576 bytes"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_text_are_named(
    name: str, file: str, data: bytes, expected: str, tmp_path: Path
) -> None:
    files = {each: text for each, text in SAMPLES[name][0].items() if each not in file}
    write(tmp_path, files)
    (tmp_path / file).write_bytes(data)
    with pytest.raises(AdapterError, match=rf"{file}, {expected}"):
        wire_lines(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    write(tmp_path, SAMPLES["movielens-latest"][0])
    path = tmp_path / "ratings.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(events(tmp_path)) == 1


def test_a_click_of_nobody_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"user_id": [1, None], "item_id": [5, 6], "ts": [2_000, 1_500]})
    parquet.write_table(table, tmp_path / "clicks.parquet")
    with pytest.raises(AdapterError, match="line 2, column user_id: expected an id"):
        wire_lines(tmp_path)


def test_an_author_that_is_no_text_is_named(tmp_path: Path) -> None:
    line = '{"id": "a", "userId": "u", "time": 5, "author": {"name": "x"}}\n'
    folder = write(tmp_path, {"20170101": line})
    with pytest.raises(AdapterError, match=r"line 1, column author: expected a text or a list"):
        list(item_lines(folder))


def test_other_parquet_files_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "clicks.parquet").write_bytes(b"no parquet")
    with pytest.raises(AdapterError, match=r"clicks\.parquet: expected a parquet file"):
        wire_lines(tmp_path)


def test_an_unknown_folder_says_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"found none; known are ml-100k: ratings\.csv, ml-100k"):
        wire_lines(tmp_path)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("train_pairs.parquet", "ml-1m-ncf: pairs .* without the time of each"),
        ("sequences.txt.gz", "ml-1m-sasrec: .* in order, without the time of each"),
        ("obd_small.csv.gz", "obd-small: .* without users"),
    ],
)
def test_a_set_that_is_no_log_is_refused_by_name(file: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / file).touch()
    with pytest.raises(AdapterError, match=reason):
        recognise(tmp_path)


def test_files_shared_by_two_layouts_are_told_apart_by_columns(tmp_path: Path) -> None:
    folder = write(tmp_path, {"events.csv": "when,who\n1,2\n"})
    with pytest.raises(AdapterError, match=r"events\.csv, line 1: .*eventType.*; or .*visitorid"):
        recognise(folder)


def test_a_file_of_a_data_set_stands_for_it(tmp_path: Path) -> None:
    for name, (files, _) in SAMPLES.items():
        folder = write(tmp_path / name, files)
        assert folder_of(folder) == folder
    assert folder_of(tmp_path / "movielens-100k" / "u.data") == tmp_path / "movielens-100k"
    nested = tmp_path / "kuairec" / "data" / "big_matrix.csv"
    assert folder_of(nested) == tmp_path / "kuairec"
    for name in ("log.jsonl", "20260101", "20260101.gz"):
        log = tmp_path / name
        log.write_text("{}\n")
        assert folder_of(log) is None


@pytest.mark.parametrize("name", ["globo", "movielens-100k", "article-actions", "adressa"])
def test_lines_that_end_in_cr_alone_are_named(name: str, tmp_path: Path) -> None:
    files = {file: text.replace("\n", "\r") for file, text in SAMPLES[name][0].items()}
    folder = write(tmp_path, files)
    with pytest.raises(
        AdapterError, match=r"line 1: expected lines that end in LF or CR LF, got CR"
    ):
        wire_lines(folder)


@pytest.mark.parametrize("name", ["globo", "movielens-100k", "adressa"])
def test_cr_before_lf_is_no_part_of_a_row(name: str, tmp_path: Path) -> None:
    files, _ = SAMPLES[name]
    plain, other = write(tmp_path / "plain", files), tmp_path / "other"
    write(other, files)
    for path in other.rglob("*"):
        if path.is_file() and path.suffix != ".gz":
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert wire_lines(other) == wire_lines(plain)


def test_no_pattern_of_characters_is_shown_for_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="adressa: a file per day, named by it") as caught:
        recognise(tmp_path)
    assert "[" not in str(caught.value)
