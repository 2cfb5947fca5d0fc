"""Short videos: KuaiRand and KuaiRec. See docs/data-sets.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evaluation.data_set import DataSet, ItemRow
from evaluation.tables import Layout, Table, find_file
from evaluation.wire_events import WireEvent

_KUAI_RAND = "log_*.csv|data/log_*.csv"
_FLAGS = {
    "is_like": "like",
    "is_comment": "comment",
    "is_forward": "share",
    "is_follow": "follow",
    "is_hate": "not_interested",
}
_KUAI_REC = "big_matrix.csv|data/big_matrix.csv"


def _watch(ts: int, row: str, user: str, item: str, played_ms: int, length_ms: int) -> WireEvent:
    """Return a watch; a length that the log does not know is what was played of it."""
    return WireEvent(ts, row, "watch", user, item, played_ms, length_ms or played_ms)


def _kuai_rand(folder: Path) -> Iterator[WireEvent]:
    """Yield a watch of what was played, and one event per flag; a mere exposure is none."""
    columns = ("user_id", "video_id", "time_ms", "play_time_ms", "duration_ms", *_FLAGS)
    number = -1
    for path in find_file(folder, _KUAI_RAND):
        table = Table(path, Layout(columns=columns))
        for user, item, time, played, length, *flags in table:
            number += 1
            ts = table.milliseconds("time_ms", time)
            user, item = table.id("user_id", user), table.id("video_id", item)
            played_ms = table.length_ms("play_time_ms", played)
            length_ms = table.length_ms("duration_ms", length)
            if played_ms:
                yield _watch(ts, str(number), user, item, played_ms, length_ms)
            for (column, kind), text in zip(_FLAGS.items(), flags, strict=True):
                if table.flag(column, text):
                    yield WireEvent(ts, f"{number}-{kind}", kind, user, item)


def _kuai_rand_items(folder: Path) -> Iterator[ItemRow]:
    columns = ("video_id", "author_id", "upload_dt", "video_duration", "tag")
    pattern = "video_features_basic*.csv|data/video_features_basic*.csv"
    for path in find_file(folder, pattern):
        table = Table(path, Layout(columns=columns))
        for item, author, uploaded, length, tags in table:
            yield ItemRow(
                table.id("video_id", item),
                # A day without an hour: the item counts as there when that day is over in UTC.
                published_ms=table.moment("upload_dt", uploaded) + 86_400_000 if uploaded else -1,
                author=author,
                tags=tuple(filter(None, tags.split(","))),
                duration_ms=table.length_ms("video_duration", length) if length else -1,
            )


def _kuai_rec(folder: Path) -> Iterator[WireEvent]:
    columns = ("user_id", "video_id", "play_duration", "video_duration", "timestamp")
    table = Table(find_file(folder, _KUAI_REC)[0], Layout(columns=columns))
    for number, (user, item, played, length, time) in enumerate(table):
        played_ms = table.length_ms("play_duration", played)
        length_ms = table.length_ms("video_duration", length)
        ts = table.seconds("timestamp", time)
        user, item = table.id("user_id", user), table.id("video_id", item)
        if played_ms:
            yield _watch(ts, str(number), user, item, played_ms, length_ms)


def _kuai_rec_items(folder: Path) -> Iterator[ItemRow]:
    """Yield categories as tags; ``feat`` is a list of numbers in brackets."""
    for path in find_file(folder, "item_categories.csv|data/item_categories.csv"):
        table = Table(path, Layout(columns=("video_id", "feat")))
        for item, categories in table:
            inner = categories.removeprefix("[").removesuffix("]")
            if len(inner) + 2 != len(categories):
                table.reject("feat", "numbers in brackets, as in [27, 9]", categories)
            words = [word.strip() for word in inner.split(",")]
            yield ItemRow(table.id("video_id", item), tags=tuple(filter(None, words)))


VIDEOS = (
    DataSet(
        name="kuairand",
        files=(_KUAI_RAND,),
        repeats=True,
        read=_kuai_rand,
        read_items=_kuai_rand_items,
    ),
    DataSet(
        name="kuairec", files=(_KUAI_REC,), repeats=True, read=_kuai_rec, read_items=_kuai_rec_items
    ),
)
