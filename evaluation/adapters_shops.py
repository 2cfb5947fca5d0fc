"""Shops: RetailRocket and the sessions of yoochoose. See docs/data-sets.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evaluation.data_set import DataSet, ItemRow
from evaluation.tables import Layout, Table, find_file
from evaluation.wire_events import WireEvent, click

_RETAIL = ("timestamp", "visitorid", "event", "itemid")
# A view is a click; into the cart is a like, a purchase the strongest action there is.
_RETAIL_TYPES = {"view": "watch", "addtocart": "like", "transaction": "share"}
_CLICK = ("Session ID", "Timestamp", "Item ID", "Category")
_CLICKS_DAT = Layout(columns=_CLICK[:3], names=_CLICK)


def _retail_rocket(folder: Path) -> Iterator[WireEvent]:
    table = Table(find_file(folder, "events.csv")[0], Layout(columns=_RETAIL))
    for number, (time, user, kind, item) in enumerate(table):
        if kind not in _RETAIL_TYPES:
            table.reject("event", f"one of {', '.join(_RETAIL_TYPES)}", kind)
        ts = table.milliseconds("timestamp", time)
        user, item = table.id("visitorid", user), table.id("itemid", item)
        if kind == "view":
            yield click(ts, str(number), user, item)
        else:
            yield WireEvent(ts, str(number), _RETAIL_TYPES[kind], user, item)


def _retail_rocket_items(folder: Path) -> Iterator[ItemRow]:
    """Yield an item's category at the time of each snapshot; other properties are hashes."""
    columns = ("timestamp", "itemid", "property", "value")
    for path in find_file(folder, "item_properties*.csv"):
        table = Table(path, Layout(columns=columns))
        for time, item, name, value in table:
            if name == "categoryid":
                yield ItemRow(
                    table.id("itemid", item),
                    published_ms=table.milliseconds("timestamp", time),
                    category=value,
                )


def _yoochoose_100k(folder: Path) -> Iterator[WireEvent]:
    number = 0
    for part, name in (("train", "train_full.csv"), ("test", "test.csv")):
        columns = ("SessionId", "ItemId", "Time")
        table = Table(find_file(folder, name)[0], Layout(columns=columns))
        for session, item, time in table:
            # Sessions of the two files are numbered apart: one user per file and session.
            user = table.id("SessionId", f"{part}-{session}")
            ts = table.seconds("Time", time)
            yield click(ts, str(number), user, table.id("ItemId", item))
            number += 1


def _yoochoose(folder: Path) -> Iterator[WireEvent]:
    table = Table(find_file(folder, "yoochoose-clicks.dat")[0], _CLICKS_DAT)
    for number, (session, time, item) in enumerate(table):
        ts = table.moment("Timestamp", time)
        yield click(ts, str(number), table.id("Session ID", session), table.id("Item ID", item))


SHOPS = (
    DataSet(
        name="retailrocket",
        files=("events.csv",),
        columns=_RETAIL,
        repeats=True,
        read=_retail_rocket,
        read_items=_retail_rocket_items,
    ),
    DataSet(
        name="yoochoose-100k",
        files=("train_full.csv", "test.csv"),
        repeats=True,
        read=_yoochoose_100k,
    ),
    DataSet(name="yoochoose", files=("yoochoose-clicks.dat",), repeats=True, read=_yoochoose),
)
