"""Hand-made samples in the layouts of public data sets (no row is from the data)."""

from __future__ import annotations

import gzip
from pathlib import Path

# By data set: files and their text, and the lines that come out as
# (event_id, type, user, item, ts, watch_ms, duration_ms), -1 where absent.
Expected = tuple[str, str, str, str, int, int, int]
Sample = tuple[dict[str, str], list[Expected]]


def _watch(
    event_id: str, user: str, item: str, ts: int, watch_ms: int = 30_000, duration_ms: int = 30_000
) -> Expected:
    return (event_id, "watch", user, item, ts, watch_ms, duration_ms)


def _mark(event_id: str, kind: str, user: str, item: str, ts: int) -> Expected:
    return (event_id, kind, user, item, ts, -1, -1)


_FLAGS = "is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view"
_RAND = (
    f"user_id,video_id,date,hourmin,time_ms,{_FLAGS},play_time_ms,duration_ms,"
    "profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab\n"
)
NINE_AM = 1_573_808_401_000  # 2019-11-15T09:00:01Z

SAMPLES: dict[str, Sample] = {
    "ml-100k": (
        {
            "ratings.csv.gz": "user_id,item_id,rating,timestamp\n7,3,5.0,30\n8,4,1.0,20\n",
            "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\t"
            "class:token_seq\n3\tThree\t1995\tDrama Children's\n5\tNever rated\t\tWar\n",
        },
        [
            _watch("1", "8", "4", 20_000, 12_000, 60_000),
            _watch("0", "7", "3", 30_000, 60_000, 60_000),
        ],
    ),
    "movietweetings-100k": (
        {
            "ratings.csv.gz": "user_id,movie_id,rating,timestamp\n1,9,5,10\n",
            "movies.dat": "0000009::Nine (1999)::Drama|War\n0000010::Never rated::\n",
        },
        [_watch("0", "1", "9", 10_000, 30_000, 60_000)],
    ),
    "movielens-100k": (
        {"u.data": "7\t3\t5\t30\n8\t4\t1\t20\n", "u.user": "7|24|M|other|00000\n"},
        [
            _watch("1", "8", "4", 20_000, 12_000, 60_000),
            _watch("0", "7", "3", 30_000, 60_000, 60_000),
        ],
    ),
    "movielens-1m": (
        {
            "ratings.dat": "1::20::4::5\n2::21::3::4\n",
            "movies.dat": "20::One (1999)::Drama|War\n",
            "users.dat": "1::F::1::10::00000\n",
        },
        [
            _watch("1", "2", "21", 4_000, 36_000, 60_000),
            _watch("0", "1", "20", 5_000, 48_000, 60_000),
        ],
    ),
    "movietweetings": (
        {
            "ratings.dat": "1::0000020::10::5\n",
            "movies.dat": "0000020::One (1999)::Drama\n",
            "users.dat": "1::99\n",
        },
        [_watch("0", "1", "0000020", 5_000, 60_000, 60_000)],
    ),
    "movielens-latest": (
        {
            "ratings.csv": "userId,movieId,rating,timestamp\n1,20,0.5,7\n",
            "movies.csv": 'movieId,title,genres\n20,"One, The (1999)",Drama|War\n',
        },
        [_watch("0", "1", "20", 7_000, 6_000, 60_000)],
    ),
    "article-actions": (
        {
            "events.csv.gz": "timestamp,eventType,contentId,personId,extra\n0,VIEW,-5,-9,x\n"
            "1,LIKE,-5,-9,x\n2,COMMENT CREATED,-5,-9,x\n3,BOOKMARK,-5,-9,x\n4,FOLLOW,-5,-9,x\n",
        },
        [
            _watch("0", "-9", "-5", 0, 20_000, 30_000),
            _mark("1", "like", "-9", "-5", 1_000),
            _mark("2", "comment", "-9", "-5", 2_000),
            _mark("3", "share", "-9", "-5", 3_000),
            _mark("4", "like", "-9", "-5", 4_000),
        ],
    ),
    "mind": (
        {
            "behaviors.tsv": "1\tU1\t11/15/2019 9:00:01 AM\tN1 N2\tN3-0 N4-1\n"
            "2\tU1\t11/15/2019 12:00:01 PM\tN1 N2 N4\tN5-1 N6-1\n"
            "3\tU2\t11/15/2019 12:00:01 AM\t\tN3-1\n",
            "news.tsv": "N4\tsports\tsoccer\tFour\tText\tu\t[]\t[]\n",
        },
        [
            # The history of U1 lies before the earliest impression, which is U2's, at midnight.
            _watch("h0-0", "U1", "N1", NINE_AM - 9 * 3_600_000 - 120_000),
            _watch("h0-1", "U1", "N2", NINE_AM - 9 * 3_600_000 - 60_000),
            _watch("2-0", "U2", "N3", NINE_AM - 9 * 3_600_000),
            _watch("0-1", "U1", "N4", NINE_AM),
            _watch("1-0", "U1", "N5", NINE_AM + 3 * 3_600_000),
            _watch("1-1", "U1", "N6", NINE_AM + 3 * 3_600_000),
        ],
    ),
    "globo": (
        {
            "clicks/clicks_hour_001.csv": "user_id,session_id,session_start,session_size,"
            "click_article_id,click_timestamp\n1,2,3,2,50,1506830000000\n",
            "clicks/clicks_hour_000.csv": "user_id,session_id,session_start,session_size,"
            "click_article_id,click_timestamp\n2,2,3,2,51,1506829999999\n",
            "articles_metadata.csv": "article_id,category_id,created_at_ts,publisher_id,"
            "words_count\n50,3,1506820000000,0,100\n",
        },
        [_watch("0", "2", "51", 1506829999999), _watch("1", "1", "50", 1506830000000)],
    ),
    "adressa": (
        {
            "20170102": '{"eventId":3,"userId":"cx:a","time":1483312000,"id":"ab12",'
            '"activeTime":12}\n',
            "20170101": '{"eventId":1,"userId":"cx:a","time":1483225200,"url":"http://x/"}\n'
            '{"eventId":2,"userId":"cx:a","time":1483225201,"id":"ab12","title":"T",'
            '"publishtime":"2016-12-31T20:00:00.000Z","author":["x","y"],"category1":"news|local"}\n',
        },
        [
            _watch("1", "cx:a", "ab12", 1483225201000),
            _watch("2", "cx:a", "ab12", 1483312000000, 12_000, 30_000),
        ],
    ),
    "retailrocket": (
        {
            "events.csv": "timestamp,visitorid,event,itemid,transactionid\n5000,1,view,9,\n"
            "6000,1,addtocart,9,\n7000,1,transaction,9,4\n",
            "item_properties_part1.csv": "timestamp,itemid,property,value\n"
            "1000,9,790,n5.000\n2000,9,categoryid,77\n",
        },
        [
            _watch("0", "1", "9", 5_000),
            _mark("1", "like", "1", "9", 6_000),
            _mark("2", "share", "1", "9", 7_000),
        ],
    ),
    "yoochoose-100k": (
        {
            "train_full.csv.gz": "SessionId,ItemId,Time\n1,9,10.25\n",
            "test.csv.gz": "SessionId,ItemId,Time\n1,9,11\n",
        },
        [_watch("0", "train-1", "9", 10_250), _watch("1", "test-1", "9", 11_000)],
    ),
    "yoochoose": (
        {
            "yoochoose-clicks.dat": "1,2014-05-06T07:08:09.011Z,214,0\n"
            "2,2014-05-06T07:08:09.010Z,215,S\n"
        },
        [_watch("1", "2", "215", 1399360089010), _watch("0", "1", "214", 1399360089011)],
    ),
    "kuairand": (
        {
            "log_standard_4_08_to_4_21_pure.csv": _RAND
            + "1,9,20220408,900,2000,1,1,1,1,1,0,1,4000,8000,0,0,0,0,1\n"
            + "1,8,20220408,900,2500,0,0,0,0,0,0,0,0,8000,0,0,0,0,1\n",
            "log_random_4_22_to_5_08_pure.csv": _RAND
            + "2,9,20220422,900,3000,0,0,0,0,0,1,0,700,0,0,0,0,1,1\n",
            "video_features_basic_pure.csv": "video_id,author_id,video_type,upload_dt,upload_type,"
            "visible_status,video_duration,server_width,server_height,music_id,music_type,tag\n"
            '9,33,NORMAL,1970-01-01,Web,1,8000.0,720,1280,1,4,"12,65"\n',
        },
        [
            _watch("1", "1", "9", 2_000, 4_000, 8_000),
            _mark("1-like", "like", "1", "9", 2_000),
            _mark("1-comment", "comment", "1", "9", 2_000),
            _mark("1-share", "share", "1", "9", 2_000),
            _mark("1-follow", "follow", "1", "9", 2_000),
            # The random log's file comes first by name; its length is unknown (0).
            _watch("0", "2", "9", 3_000, 700, 700),
            _mark("0-not_interested", "not_interested", "2", "9", 3_000),
        ],
    ),
    "kuairec": (
        {
            "data/big_matrix.csv": "user_id,video_id,play_duration,video_duration,time,date,"
            "timestamp,watch_ratio\n5,3,9000,6000,2020-07-07 07:07:07.077,20200707,"
            "1594076827.077,1.5\n5,4,0,6000,2020-07-07 07:08:07,20200707,1594076887,0.0\n",
            "data/item_categories.csv": 'video_id,feat\n3,"[27, 9]"\n4,[8]\n',
        },
        [_watch("0", "5", "3", 1594076827077, 9_000, 6_000)],
    ),
}  # fmt: skip

# By data set: what its items log says, (item_id, author_id, created_at, ts, title, category, tags).
ITEMS: dict[str, list[tuple[str, str, int, int, str, str, list[str]]]] = {
    "ml-100k": [("3", "3", 30_000, 30_001, "Three", "", ["Drama", "Children's"])],
    "movietweetings-100k": [("9", "9", 10_000, 10_001, "Nine (1999)", "", ["Drama", "War"])],
    "movielens-1m": [("20", "20", 5_000, 5_001, "One (1999)", "", ["Drama", "War"])],
    "movietweetings": [("0000020", "0000020", 5_000, 5_001, "One (1999)", "", ["Drama"])],
    "movielens-latest": [("20", "20", 7_000, 7_001, "One, The (1999)", "", ["Drama", "War"])],
    "mind": [("N4", "N4", NINE_AM, NINE_AM + 1, "Four", "sports", ["soccer"])],
    "globo": [("50", "50", 1506820000000, 1506820000000, "", "3", [])],
    "adressa": [("ab12", "x, y", 1483214400000, 1483214400000, "T", "news", [])],
    "retailrocket": [("9", "9", 2_000, 2_000, "", "77", [])],
    "kuairand": [("9", "33", 86_400_000, 86_400_000, "", "", ["12", "65"])],
    "kuairec": [("3", "3", 1594076827077, 1594076827078, "", "", ["27", "9"])],
}


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write a sample's files; a name that ends in ``.gz`` is zipped."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder
