"""Recommendation lists as they stand in Redis: keys, what a hash says, how old it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from headwater_client.errors import InvalidAddress, UnreadableList

TRENDING_KEY = "rec:trending"
_FIELDS = ("items", "version", "generated_at", "events_to", "model")


class RecommendedItem(BaseModel):
    """One item of a list.

    Attributes:
        id: The item.
        score: The ranker's number; lists are ordered already, scores of two lists do not compare.
        sources: Who proposed it: ``cooccurrence``, ``interest``, ``trending``, ...
        why: The same in words, where the engine runs with ``HEADWATER_EXPLAIN=1``; else empty.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    score: float
    sources: tuple[str, ...] = ()
    why: str = ""


class Recommendations(BaseModel):
    """One list, best item first.

    Attributes:
        items: The items.
        version: Sorts as text; newer is greater.
        generated_at: When it was made, ms since 1970 UTC.
        events_to: Event time of the newest event it knows of, ms since 1970 UTC.
        model: What ranked it.
        age_s: How long ago it was made when it was read, in seconds.
        is_fallback: The user had no list, this is the trending one.
    """

    model_config = ConfigDict(frozen=True)

    items: tuple[RecommendedItem, ...]
    version: str
    generated_at: int
    events_to: int
    model: str
    age_s: float
    is_fallback: bool = False

    @property
    def ids(self) -> list[str]:
        """Ids of the items, best first."""
        return [item.id for item in self.items]


_ITEMS = TypeAdapter[tuple[RecommendedItem, ...]](tuple[RecommendedItem, ...])


def list_key(user_id: str) -> str:
    """Return the key of a user's list.

    >>> list_key("ann")
    'rec:{ann}'

    Raises:
        InvalidAddress: The id is no str.
    """
    return f"rec:{{{_text('user_id', user_id)}}}"


def similar_key(item_id: str) -> str:
    """Return the key of the items similar to one.

    >>> similar_key("clip-7")
    'sim:{clip-7}'

    Raises:
        InvalidAddress: The id is no str.
    """
    return f"sim:{{{_text('item_id', item_id)}}}"


def users_of(user_ids: Iterable[str]) -> list[str]:
    """Return users once each, in their order.

    Raises:
        InvalidAddress: There is one str, of which every letter would pass for a user, or nothing
            to iterate over.
    """
    if isinstance(user_ids, str | bytes) or not isinstance(user_ids, Iterable):
        message = (
            f"user_ids: expected several ids, got a single {type(user_ids).__name__}: put it into "
            "a list, or use recommendations()"
        )
        raise InvalidAddress(message)
    return list(dict.fromkeys(_text("user_id", each) for each in user_ids))


def _text(name: str, value: object) -> str:
    """Return an id; anything else would make a key that no list has, and look like a newcomer's."""
    if not isinstance(value, str):
        message = f"{name}: expected str, got {type(value).__name__}: give it as the events do"
        raise InvalidAddress(message)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = f"{name}: expected text, got half a character ({error.reason})"
        raise InvalidAddress(message) from None
    return value


def read_hash(
    key: str, found: Mapping[bytes, bytes], *, now_ms: int, is_fallback: bool = False
) -> Recommendations | None:
    """Return what ``HGETALL`` of a key found as a list; None when there was nothing.

    Raises:
        UnreadableList: There was something else.
    """
    if not found:
        return None
    try:
        texts = {name: found[name.encode()].decode() for name in _FIELDS}
        generated_at = int(texts["generated_at"])
        return Recommendations(
            items=_ITEMS.validate_json(texts["items"]),
            version=texts["version"],
            generated_at=generated_at,
            events_to=int(texts["events_to"]),
            model=texts["model"],
            # Clocks differ: a list is never from the future.
            age_s=max(0, now_ms - generated_at) / 1_000,
            is_fallback=is_fallback,
        )
    except (KeyError, ValueError, ValidationError) as error:
        raise UnreadableList(_unreadable(key, error)) from error


def read_hashes(
    user_ids: Sequence[str],
    replies: Sequence[Mapping[bytes, bytes]],
    *,
    now_ms: int,
    fallback: bool,
) -> dict[str, Recommendations | None]:
    """Return what ``HGETALL`` of each user's key found; the last reply is the trending list's.

    Raises:
        UnreadableList: Something else stood under one of the keys.
    """
    trending = read_hash(TRENDING_KEY, replies[-1], now_ms=now_ms, is_fallback=True)
    found: dict[str, Recommendations | None] = {}
    for user_id, reply in zip(user_ids, replies[:-1], strict=True):
        own = read_hash(list_key(user_id), reply, now_ms=now_ms)
        found[user_id] = trending if own is None and fallback else own
    return found


def _unreadable(key: str, error: Exception) -> str:
    cause = f"there is no field {error}" if isinstance(error, KeyError) else str(error)
    return (
        f"expected a list of Headwater's under {key!r}, something else stands there: {cause}; does "
        f"another program write to this key, or is the engine's version another one?"
    )
