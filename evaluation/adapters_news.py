"""News: MIND, Globo, Adressa, and the two layouts of clicks and actions. See docs/data-sets.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from evaluation.data_set import DataSet, ItemRow
from evaluation.tables import AdapterError, JsonLines, Layout, Table, find_file
from evaluation.wire_events import CLICK_MS, VIEWED_MS, WireEvent, click

_BEHAVIOURS = ("Impression ID", "User ID", "Time", "History", "Impressions")
_MIND = Layout(columns=_BEHAVIOURS, names=_BEHAVIOURS, separator="\t", is_quoted=False)
_MIND_NEWS = Layout(
    columns=("News ID", "Category", "SubCategory", "Title"),
    names=(
        *("News ID", "Category", "SubCategory", "Title", "Abstract", "URL"),
        *("Title Entities", "Abstract Entities"),
    ),
    separator="\t",
    is_quoted=False,
)
_MIND_TIME = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d{2}):(\d{2}) (AM|PM)")
# Between two clicks of a history, whose order is known and whose times are not.
_HISTORY_STEP_MS = 60_000
_GLOBO = "clicks_hour_*.csv|clicks/clicks_hour_*.csv|clicks_sample.csv"
_ADRESSA = "[12][0-9][0-9][0-9][01][0-9][0-3][0-9]"
_ARTICLE_TYPES = {
    "VIEW": "watch",
    "LIKE": "like",
    "COMMENT CREATED": "comment",
    "BOOKMARK": "share",
    "FOLLOW": "like",
}


def _article_actions(folder: Path) -> Iterator[WireEvent]:
    columns = ("timestamp", "eventType", "contentId", "personId")
    path = find_file(folder, "events.csv|users_interactions.csv")[0]
    table = Table(path, Layout(columns=columns))
    for number, (time, kind, item, user) in enumerate(table):
        if kind not in _ARTICLE_TYPES:
            table.reject("eventType", f"one of {', '.join(_ARTICLE_TYPES)}", kind)
        viewed = kind == "VIEW"
        yield WireEvent(
            table.seconds("timestamp", time),
            str(number),
            _ARTICLE_TYPES[kind],
            table.id("personId", user),
            table.id("contentId", item),
            VIEWED_MS if viewed else -1,
            CLICK_MS if viewed else -1,
        )


def _news_clicks(folder: Path) -> Iterator[WireEvent]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        message = "reading clicks.parquet needs pyarrow: pip install 'headwater[evaluation]'"
        raise AdapterError(message) from error
    path = find_file(folder, "clicks.parquet")[0]
    columns = ["user_id", "item_id", "ts"]
    table = Table(path, Layout(columns=tuple(columns)))
    try:
        for batch in parquet.ParquetFile(path).iter_batches(columns=columns, batch_size=65_536):
            rows = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
            for user, item, time in rows:
                table.line += 1  # Of a parquet file: the row.
                yield click(
                    table.milliseconds("ts", str(time)),
                    str(table.line - 1),
                    table.id("user_id", "" if user is None else str(user)),
                    table.id("item_id", "" if item is None else str(item)),
                )
    except (pyarrow.ArrowInvalid, KeyError) as error:
        message = f"{path}: expected a parquet file with columns {', '.join(columns)}; {error}"
        raise AdapterError(message) from error


def _mind_time(table: Table, text: str) -> int:
    """Parse ``11/12/2019 3:04:05 PM``, read as UTC: the set names no zone."""
    found = _MIND_TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        month, day, year, hour, minute, second = map(int, found.groups()[:6])
        hour = hour % 12 + (12 if found[7] == "PM" else 0)
        value = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        table.reject("Time", "a time like 11/12/2019 3:04:05 PM", text)
    return table.since_1970("Time", value)


def _mind_path(folder: Path) -> Path:
    return find_file(folder, "behaviors.tsv")[0]


def _mind_first_ms(folder: Path) -> int:
    """Return the time of the earliest impression."""
    path = _mind_path(folder)
    return _earliest(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _earliest(path: Path, _: int) -> int:
    table = Table(path, _MIND)
    return min(_mind_time(table, time) for _, _, time, _, _ in table)


def _mind_histories(folder: Path) -> dict[str, tuple[int, int]]:
    """Return, by user, time and row of the earliest impression, whose history is taken."""
    table = Table(_mind_path(folder), _MIND)
    earliest: dict[str, tuple[int, int]] = {}
    for number, (_, user, time, _, _) in enumerate(table):
        key = (_mind_time(table, time), number)
        if user not in earliest or key < earliest[user]:
            earliest[user] = key
    return earliest


def _mind(folder: Path) -> Iterator[WireEvent]:
    """Yield clicks: of a user's earliest history before the first impression of all, then shown.

    Two passes: a history has no times, and must lie before everything that is tested.
    """
    earliest = _mind_histories(folder)
    first_ms = _mind_first_ms(folder)
    table = Table(_mind_path(folder), _MIND)
    for number, (impression, user, time, history, shown) in enumerate(table):
        table.id("User ID", user)
        if earliest[user][1] == number:
            clicks = history.split()
            for place, item in enumerate(clicks):
                ts = max(0, first_ms - (len(clicks) - place) * _HISTORY_STEP_MS)
                yield click(ts, f"h{number}-{place}", user, table.id("History", item))
        ts = _mind_time(table, time)
        for place, word in enumerate(shown.split()):
            item, dash, label = word.rpartition("-")
            if not dash or label not in ("0", "1"):
                table.reject("Impressions", "ITEM-0 or ITEM-1, as in N12-0", word)
            if label == "1":
                event = click(ts, f"{number}-{place}", user, table.id("Impressions", item))
                yield event._replace(request_id=impression)


def _mind_items(folder: Path) -> Iterator[ItemRow]:
    for path in find_file(folder, "news.tsv"):
        table = Table(path, _MIND_NEWS)
        for item, category, part, title in table:
            yield ItemRow(
                table.id("News ID", item), title=title, category=category, tags=(part,) * bool(part)
            )


def _globo(folder: Path) -> Iterator[WireEvent]:
    columns = ("user_id", "click_article_id", "click_timestamp")
    number = 0
    for path in find_file(folder, _GLOBO):
        table = Table(path, Layout(columns=columns))
        for user, item, time in table:
            yield click(
                table.milliseconds("click_timestamp", time),
                str(number),
                table.id("user_id", user),
                table.id("click_article_id", item),
            )
            number += 1


def _globo_items(folder: Path) -> Iterator[ItemRow]:
    columns = ("article_id", "category_id", "created_at_ts", "publisher_id")
    for path in find_file(folder, "articles_metadata.csv"):
        table = Table(path, Layout(columns=columns))
        for item, category, time, publisher in table:
            yield ItemRow(
                table.id("article_id", item),
                published_ms=table.milliseconds("created_at_ts", time),
                author=publisher if publisher != "0" else "",
                category=category,
            )


def _adressa(folder: Path) -> Iterator[WireEvent]:
    """Yield reads of articles: lines with an ``id``; the rest are front pages."""
    number = 0
    for path in find_file(folder, _ADRESSA):
        table = JsonLines(path)
        for found in table.objects():
            number += 1
            if found.get("id") is None:
                continue
            ts = table.seconds("time", table.text(found, "time"))
            item = table.id("id", table.text(found, "id"))
            user = table.id("userId", table.text(found, "userId"))
            event = click(ts, str(number - 1), user, item)
            if found.get("activeTime") is not None:
                read_s = table.number("activeTime", table.text(found, "activeTime"), 86_400)
                event = event._replace(watch_ms=round(read_s * 1000))
            yield event


def _adressa_items(folder: Path) -> Iterator[ItemRow]:
    seen: set[str] = set()
    for path in find_file(folder, _ADRESSA):
        table = JsonLines(path)
        for found in table.objects():
            item = found.get("id")
            if item is None or item in seen:
                continue
            seen.add(table.id("id", table.text(found, "id")))
            published = found.get("publishtime")
            author, category = found.get("author") or "", found.get("category1")
            if not isinstance(author, str | list):
                table.reject("author", "a text or a list of them", author)
            yield ItemRow(
                table.text(found, "id"),
                published_ms=table.moment("publishtime", str(published)) if published else -1,
                title=str(found.get("title") or ""),
                author=author if isinstance(author, str) else ", ".join(map(str, author)),
                category=str(category or "").split("|")[0],
            )


NEWS = (
    DataSet(
        name="article-actions",
        files=("events.csv|users_interactions.csv",),
        columns=("timestamp", "eventType", "contentId", "personId"),
        repeats=True,
        read=_article_actions,
    ),
    DataSet(
        name="news-clicks",
        files=("clicks.parquet",),
        repeats=True,
        warmup=0.0,
        warmup_hours=24.0,
        every=10,
        read=_news_clicks,
    ),
    DataSet(
        name="mind",
        files=("behaviors.tsv",),
        repeats=True,
        read=_mind,
        read_items=_mind_items,
        tested_from=_mind_first_ms,
    ),
    DataSet(name="globo", files=(_GLOBO,), repeats=True, read=_globo, read_items=_globo_items),
    DataSet(
        name="adressa",
        files=(_ADRESSA,),
        named="a file per day, named by it, as 20170101",
        repeats=True,
        read=_adressa,
        read_items=_adressa_items,
    ),
)
