"""What a known data set is: its files, how they become events and items, how it is tested."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from evaluation.tables import find_file, header_of
from evaluation.wire_events import WireEvent


class ItemRow(NamedTuple):
    """What a data set's own file says about an item.

    Attributes:
        item_id: Which.
        published_ms: When it was published; -1 where the set does not say.
        title: Empty where it does not say; so are the other texts.
        author: Who made it.
        category: One word for what it is.
        tags: More words.
        duration_ms: Length; -1 where the set does not say.
    """

    item_id: str
    published_ms: int = -1
    title: str = ""
    author: str = ""
    category: str = ""
    tags: tuple[str, ...] = ()
    duration_ms: int = -1


def _always(_: Path) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A known layout of a public data set.

    Attributes:
        name: Name of the layout, used in summaries.
        files: Patterns of files whose presence in a folder identifies the layout; ``a|b`` is
            either of two places, each plain or ``.gz``. Events come from the first pattern.
        named: The files in words, where the patterns are none that a person would write.
        columns: Columns in line 1 of the first file, where another layout has the same names.
        fits: A closer look at the folder, where names and columns do not decide.
        repeats: Whether users consume an item again (the default of ``--repeats``).
        warmup: Share of the stream that is only learned.
        warmup_hours: Hours of event time that are only learned, beside.
        every: Every how many events one is tested.
        read: From folder to events in the order of the files.
        read_items: From folder to items; None where the set has no file of items.
        tested_from: Event time before which nothing is to be tested; None tests all.
    """

    name: str
    files: tuple[str, ...]
    repeats: bool
    read: Callable[[Path], Iterator[WireEvent]]
    named: str = ""
    columns: tuple[str, ...] = ()
    fits: Callable[[Path], bool] = _always
    warmup: float = 0.2
    warmup_hours: float = 0.0
    every: int = 1
    read_items: Callable[[Path], Iterator[ItemRow]] | None = None
    tested_from: Callable[[Path], int] | None = None

    @property
    def files_in_words(self) -> str:
        """What a person looks for in the folder."""
        return self.named or ", ".join(self.files).replace("|", " or ")

    def has_files(self, folder: Path) -> bool:
        """Whether the folder has this layout's files."""
        return all(find_file(folder, each) for each in self.files) and self.fits(folder)

    def has_columns(self, folder: Path) -> bool:
        """Whether the first file's header names this layout's columns."""
        header = header_of(find_file(folder, self.files[0])[0]) if self.columns else ()
        return set(self.columns) <= set(header)
