"""Ratings of films: MovieLens in its three forms, MovieTweetings. See docs/data-sets.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evaluation.data_set import DataSet, ItemRow
from evaluation.tables import Layout, Table, find_file
from evaluation.wire_events import WireEvent, rated

_RATING = ("user_id", "item_id", "rating", "timestamp")
_U_DATA = Layout(columns=_RATING, names=_RATING, separator="\t", is_quoted=False)
_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_U_ITEM = Layout(
    columns=("movie id", "movie title", *_GENRES),
    names=(
        *("movie id", "movie title", "release date", "video release date", "IMDb URL"),
        *_GENRES,
    ),
    separator="|",
    is_quoted=False,
    encoding="latin-1",
)
_DAT = ("UserID", "MovieID", "Rating", "Timestamp")
_RATINGS_DAT = Layout(columns=_DAT, names=_DAT, separator="::", is_quoted=False)
_FILMS = ("MovieID", "Title", "Genres")
_USERS_DAT = ("UserID", "Gender", "Age", "Occupation", "Zip-code")


def _films_dat(encoding: str) -> Layout:
    return Layout(columns=_FILMS, names=_FILMS, separator="::", is_quoted=False, encoding=encoding)


def _ratings(path: Path, layout: Layout, best: float) -> Iterator[WireEvent]:
    """Yield ratings of a file whose layout reads user, item, rating, seconds."""
    user_column, item_column, rating_column, time_column = layout.columns
    table = Table(path, layout)
    for number, (user, item, rating, time) in enumerate(table):
        yield rated(
            table.seconds(time_column, time),
            str(number),
            table.id(user_column, user),
            table.id(item_column, item),
            table.number(rating_column, rating, best) / best,
        )


def _first(folder: Path, pattern: str) -> Path:
    return find_file(folder, pattern)[0]


def _csv(*columns: str) -> Layout:
    return Layout(columns=columns)


def _ml_100k_csv(folder: Path) -> Iterator[WireEvent]:
    return _ratings(_first(folder, "ratings.csv"), _csv(*_RATING), 5.0)


def _ml_100k_csv_items(folder: Path) -> Iterator[ItemRow]:
    columns = ("item_id:token", "movie_title:token_seq", "class:token_seq")
    layout = Layout(columns=columns, separator="\t", is_quoted=False)
    table = Table(_first(folder, "ml-100k.item"), layout)
    for item, title, genres in table:
        yield ItemRow(table.id(columns[0], item), title=title, tags=tuple(genres.split()))


def _movietweetings_csv(folder: Path) -> Iterator[WireEvent]:
    layout = _csv("user_id", "movie_id", "rating", "timestamp")
    return _ratings(_first(folder, "ratings.csv"), layout, 10.0)


def _movietweetings_csv_items(folder: Path) -> Iterator[ItemRow]:
    # Numbers in the table of ratings have no zeros in front, those of films have.
    for film in _tweetings_items(folder):
        yield film._replace(item_id=film.item_id.lstrip("0") or "0")


def _ml_100k(folder: Path) -> Iterator[WireEvent]:
    return _ratings(_first(folder, "u.data"), _U_DATA, 5.0)


def _ml_100k_items(folder: Path) -> Iterator[ItemRow]:
    for path in find_file(folder, "u.item"):
        table = Table(path, _U_ITEM)
        for item, title, *flags in table:
            named = zip(_GENRES, flags, strict=True)
            genres = tuple(name for name, text in named if table.flag(name, text))
            yield ItemRow(table.id("movie id", item), title=title, tags=genres)


def _ml_dat(folder: Path) -> Iterator[WireEvent]:
    return _ratings(_first(folder, "ratings.dat"), _RATINGS_DAT, 5.0)


def _ml_dat_items(folder: Path) -> Iterator[ItemRow]:
    # 10M, which has tags.dat and no users.dat, is written in UTF-8.
    encoding = "utf-8" if find_file(folder, "tags.dat") else "latin-1"
    return _films(Table(_first(folder, "movies.dat"), _films_dat(encoding)))


def _tweetings(folder: Path) -> Iterator[WireEvent]:
    return _ratings(_first(folder, "ratings.dat"), _RATINGS_DAT, 10.0)


def _tweetings_items(folder: Path) -> Iterator[ItemRow]:
    return _films(Table(_first(folder, "movies.dat"), _films_dat("utf-8")))


def _ml_latest(folder: Path) -> Iterator[WireEvent]:
    layout = _csv("userId", "movieId", "rating", "timestamp")
    return _ratings(_first(folder, "ratings.csv"), layout, 5.0)


def _ml_latest_items(folder: Path) -> Iterator[ItemRow]:
    return _films(Table(_first(folder, "movies.csv"), _csv("movieId", "title", "genres")))


def _films(table: Table) -> Iterator[ItemRow]:
    """Yield films of a table that reads id, title, genres joined by ``|``."""
    for item, title, genres in table:
        names = () if genres.startswith("(no genres") else tuple(filter(None, genres.split("|")))
        yield ItemRow(table.id(table.layout.columns[0], item), title=title, tags=names)


def _users_are_tweeters(folder: Path) -> bool:
    """Whether ``users.dat`` is MovieTweetings': two fields (user, Twitter id), not five."""
    for path in find_file(folder, "users.dat"):
        for line in Table(path, _films_dat("latin-1")).lines():
            return line.count("::") + 1 < len(_USERS_DAT)
    return False


MOVIES = (
    DataSet(
        name="ml-100k",
        files=("ratings.csv", "ml-100k.item"),
        repeats=False,
        read=_ml_100k_csv,
        read_items=_ml_100k_csv_items,
    ),
    DataSet(
        name="movietweetings-100k",
        files=("ratings.csv", "movies.dat"),
        repeats=True,
        read=_movietweetings_csv,
        read_items=_movietweetings_csv_items,
    ),
    DataSet(
        name="movielens-100k",
        files=("u.data",),
        repeats=False,
        read=_ml_100k,
        read_items=_ml_100k_items,
    ),
    DataSet(
        name="movielens-1m",
        files=("ratings.dat", "movies.dat"),
        repeats=False,
        read=_ml_dat,
        fits=lambda folder: not _users_are_tweeters(folder),
        read_items=_ml_dat_items,
    ),
    DataSet(
        name="movietweetings",
        files=("ratings.dat", "movies.dat", "users.dat"),
        repeats=True,
        read=_tweetings,
        fits=_users_are_tweeters,
        read_items=_tweetings_items,
    ),
    DataSet(
        name="movielens-latest",
        files=("ratings.csv", "movies.csv"),
        repeats=False,
        read=_ml_latest,
        read_items=_ml_latest_items,
    ),
)
