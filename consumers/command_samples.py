"""One example and one answer per command: what ``docs/commands.md`` shows beside the options.

Answers are shortened: one entry of each list, some of many figures. Tests compare their fields
with what the commands print.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_COUNTERS = {
    "read": 11910, "applied": 11806, "duplicate": 99, "late": 5, "rejected": 0, "filtered": 0,
    "routed": 0,
}  # fmt: skip
_MEANS = {"tested": 454, "hr@10": 0.2247, "ndcg@10": 0.1125, "mrr@20": 0.0874, "hr@20": 0.348}
_LISTED = {"id": "clip-9", "score": 0.300322, "sources": ["cooccurrence", "item-cf"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is shown of one command.

    Attributes:
        examples: Command lines.
        says: What the output is, and what the exit code means beyond the usual.
        answer: The JSON object of ``--json``, shortened; None where there is none.
        others: Further answers of the same command, by what was asked.
    """

    examples: tuple[str, ...]
    says: str
    answer: Mapping[str, Any] | None = None
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


SAMPLES: Mapping[str, Sample] = {
    "demo": Sample(
        examples=("headwater demo --headless --seconds 60 --json",),
        says="A live view, then the summary; exit code 1 when anything was lost (`exit_reason`).",
        answer={
            "produced": 12000, **_COUNTERS, "lists_written": 9800, "users_with_list": 2400,
            "first_list_s": 4.1, "freshness_ms": {"p50": 30.0, "p99": 90.0, "max": 140.0},
            "lag_end": 0, "model": "fusion", "exit_reason": "done",
        },
    ),
    "up": Sample(
        examples=("headwater up --json",),
        says="One line with the addresses once everything answers; then it runs until Ctrl-C.",
        answer={
            "kafka": "127.0.0.1:9092", "redis": "redis://127.0.0.1:6379/0",
            "health": "http://127.0.0.1:8080",
        },
    ),
    "worker": Sample(
        examples=("headwater worker --kafka HOST:PORT --redis redis://HOST:PORT/0",),
        says="Logs to stderr. With `--json` one line once the worker has its partitions.",
        answer={"health": "http://127.0.0.1:8080"},
    ),
    "simulate": Sample(
        examples=("headwater simulate --seconds 600 --out log.jsonl --items-out items.jsonl",),
        says="Into a file: how many lines. To Kafka: `produced`, `acknowledged`, `failed`, "
        "`duplicates_sent` and `error`.",
        answer={
            "events": 11910, "items": 895, "log": "log.jsonl", "items_log": "items.jsonl",
        },
    ),
    "produce": Sample(
        examples=(
            "headwater produce log.jsonl.gz --kafka HOST:PORT --speed 10",
            "headwater produce log.jsonl --kafka HOST:PORT --start 5000",
            "headwater produce ml-100k --items ml-100k --kafka HOST:PORT",
        ),
        says="What was sent and confirmed, with `--items` how many items too: each is announced "
        "when the events reach its time. After a stop, `--start` with `next_index` goes on (items "
        "due before it are announced again, which changes nothing); exit code 1 when something was "
        "not confirmed.",
        answer={
            "produced": 11910, "acknowledged": 11910, "failed": 0, "next_index": 11910,
            "seconds": 0.9,
        },
    ),
    "replay": Sample(
        examples=(
            "headwater replay log.jsonl --items items.jsonl --partitions 4 --json",
            "headwater replay interactions --kafka HOST:PORT",
        ),
        says="Counters of the log, sizes of the state, and its digests; digests compare at equal "
        "`--partitions`.",
        answer={
            **_COUNTERS, "users": 200, "items": 546, "digest": "763c4c3b72f049a736fb3cea7ee11460",
            "digest_rows": "8bdf9114cafb12e92c31cd04318694dd", "evicted": 0, "overflowed": 0,
            "seconds": 0.884,
        },
    ),
    "recs": Sample(
        examples=("headwater recs ann --redis redis://HOST:PORT/0",),
        says="One line per item: place, id, score, sources. `key` says whether it is the user's "
        "own list or `rec:trending`. Exit code 1 when there is neither.",
        answer={
            "key": "rec:{ann}", "items": [_LISTED],
            "version": "000000-0000000000002222-000000-1795375486403",
            "generated_at": 1795375486403, "events_to": 1750000059782, "model": "fusion",
            "age_ms": 15670,
        },
    ),
    "similar": Sample(
        examples=("headwater similar clip-7 --redis redis://HOST:PORT/0",),
        says="One line per item: place, id, score. Exit code 1 when Redis has none for this id.",
        answer={
            "key": "sim:{clip-7}",
            "items": [{"id": "clip-9", "score": 0.35, "sources": ["cooccurrence-two-way"]}],
            "version": "000000-0000000000000008-000000-1795375486403",
            "generated_at": 1795375486403, "events_to": 1750000059947,
            "model": "cooccurrence-two-way", "age_ms": 15670,
        },
    ),
    "explain": Sample(
        examples=(
            "headwater explain ann clip-9 --health http://127.0.0.1:8080",
            "headwater explain ann clip-9 --log log.jsonl --items items.jsonl",
        ),
        says="`verdict` and `reason`; who proposed the item (`share_of_best`: against the best "
        "that the source gave this user); the score as a sum of `factor` x `weight`, with the "
        "network a probability per head, with fusion `1 / (k + rank)` per source; what reranking "
        "did: `value = relevance x author_multiplier - diversity_penalty`. The list explained is "
        "the one that would be made now; `in_redis` says where the item stands in the one that "
        "clients read (null after `--log`). A worker answers for the users whose partition it "
        "holds.",
        answer={
            "user_id": "ann", "item_id": "clip-9", "is_known_user": True, "partition": 2,
            "next_offset": 2222, "as_of_ms": 1750000059918, "events_to_ms": 1750000059782,
            "model": "fusion",
            "list": {"size": 50, "num_candidates": 252, "lowest_score": 0.009524},
            "sources": [
                {"source": "item-cf", "rank": 4, "score": 0.720059, "share_of_best": 0.599684}
            ],
            "ranking": {
                "score": 0.217768, "rank": 7, "num_candidates": 252,
                "terms": [
                    {"name": "item-cf", "factor": 0.041667, "weight": 2.0, "product": 0.083333}
                ],
            },
            "features": {"item-cf_score_share": 0.599684, "rate_watch": 0.921053},
            "reranking": {
                "place": 20, "place_by_score": 7, "value": 0.382261, "relevance": 0.725115,
                "blocked_author_factor": 1.0, "same_author_above": 1, "max_per_author": 5,
                "author_multiplier": 0.625, "nearest_above": "clip-3", "similarity": 0.709362,
                "diversity_penalty": 0.070936, "is_explored": False, "is_refilled": False,
            },
            "verdict": "in_list", "reason": "place 20 of 50, ranked by fusion",
            "in_redis": {"place": 20, "size": 50, "model": "fusion", "age_ms": 15670},
        },
    ),
    "inspect": Sample(
        examples=(
            "headwater inspect user ann --health http://127.0.0.1:8080",
            "headwater inspect item clip-9 --log log.jsonl",
        ),
        says="A user: history (newest first), affinities by hashed key with an item of the history "
        "that has it, lengths of the interest vectors, the newest list (in Redis; after `--log` "
        "the one that would be made). An item: its row in the catalogue (`status` is announced, "
        "provisional, hidden or removed), popularity per half-life (ms), neighbours "
        "(itself where people come back to it; no list of similar items has that), and, from "
        "the worker that owns it, counts per window. Exit code 1 when the id is unknown.",
        answer={
            "user_id": "ann", "is_known": True, "partition": 2, "next_offset": 2222,
            "stream_time_ms": 1750000059918, "erased_at_offset": None,
            "partition_counters": {
                "read": 2222, "applied": 2202, "duplicate": 19, "late": 1, "rejected": 0,
                "filtered": 0, "routed": 0, "evicted_users": 0, "evicted_items": 0,
                "dropped_event_ids": 0,
            },
            "num_events": 70, "events_to_ms": 1750000059782,
            "history": [
                {
                    "item_id": "clip-7", "ts": 1750000059782, "strength": 1,
                    "actions": ["watch"], "completion": 0.82,
                }
            ],
            "num_seen_lately": 54, "vectors": {"session_norm": 15.26, "long_norm": 15.42},
            "affinities": [
                {
                    "key": "d0315cb2c2c30e8b", "weight": 15.999551, "kind": "author",
                    "as_of_item": "clip-7",
                }
            ],
            "list": {"items": [_LISTED], "model": "fusion"},
        },
        others={
            "inspect item": {
                "item_id": "clip-9", "is_known": True, "item_partition": 0,
                "owner": {
                    "as_of_ms": 1750000059947, "next_offset": 36,
                    "windows": [
                        {
                            "window_ms": 86400000, "interactions": 37.0, "out": 53.216667,
                            "in": 61.183334,
                        }
                    ],
                },
                "status": "announced", "created_at_ms": 1750000031416, "duration_ms": 12819,
                "author": "9a9e13ab4675ca31", "category": "228366570a476aa6",
                "tags": ["b1a15e035d1dc62a"], "as_of_ms": 1750000059947, "signal_offset": 36,
                "popularity": {
                    "300000": 19.545593, "3600000": 19.961733, "86400000": 19.998404,
                    "604800000": 19.999771, "2592000000": 19.999947,
                },
                "action_counts": {
                    "watch": 35.0, "like": 2.0, "comment": 0.0, "share": 0.0,
                    "not_interested": 0.0,
                },
                "interactions": 74.0,
                "neighbours": [{"item_id": "clip-3", "out": 4.566406, "in": 9.5, "cf": 44.0}],
            }
        },
    ),
    "evaluate": Sample(
        examples=("headwater evaluate log.jsonl --source item-cf --json",),
        says="Means over all targets, then over those known, new to their user, of users with a "
        "history or without, of new items, and by decile; what the lists are like beyond accuracy; "
        "the same with neighbours read without delay; how it was measured. `duplicate` events were "
        "neither tested nor learned: their user has an event of that `event_id` already, and the "
        "engine counts it once (the first to arrive, within `HEADWATER_USERS__GRACE_MS`), but anew "
        "after an erase of the user.",
        answer={
            "log": "log.jsonl", "what": "fusion", "events": 11811, "duplicate": 99, **_MEANS,
            "known_targets": _MEANS, "new_to_user": _MEANS, "users_with_history": _MEANS,
            "cold_users": _MEANS, "new_items": _MEANS, "by_decile": [_MEANS],
            "beyond_accuracy": {
                "lists": 9500, "coverage": 0.61, "gini": 0.83, "novelty_bits": 9.1,
                "diversity": 0.72, "median_age_h": 5.2,
            },
            "live_neighbours": _MEANS,
            "protocol": {
                "warmup": 0.2, "tested_from_ms": 1749999997734, "every": 1, "limit": None,
                "repeats": "allow",
            },
            "settings": {"ranking.repeats": "allow"}, "tuned": False, "seconds": 6.3,
        },
    ),
    "train": Sample(
        examples=("headwater train log.jsonl --items items.jsonl --out weights",),
        says="The manifest that a worker takes as `HEADWATER_RANKING__WEIGHTS`; `events` and "
        "`duplicate` as in `evaluate`.",
        answer={
            "events": 11811, "duplicate": 99, "learned": 8400,
            "weights": "weights/network-deac449e.json", "seconds": 21.5,
        },
    ),
    "bench": Sample(
        examples=("headwater bench --list", "headwater bench decode refresh --json"),
        says="Figures per benchmark; what each means stands in the checkout's "
        "`benchmarks/README.md`. Benchmarks use servers of their own, never those that settings "
        "name. Exit code 1 when one fails, 2 outside of a checkout.",
        answer={
            "results": {"decode": {"events_per_s": 824323, "ratio": 1.17}}, "failures": {},
            "is_full": False, "seconds": 9.4,
        },
    ),
    "doctor": Sample(
        examples=("headwater doctor --kafka HOST:PORT --redis redis://HOST:PORT/0",),
        says="One line per thing looked at: `ok`, `info` (no fault), `warn` or `fail`, and below "
        "it what to do. Exit code 1 when one is `fail`.",
        answer={
            "healthy": True, "counts": {"ok": 14, "info": 3, "warn": 1, "fail": 0},
            "findings": [
                {
                    "check": "redis.memory", "status": "warn",
                    "text": "maxmemory 0.06 GiB, 0.00 GiB used, policy noeviction: once full, it "
                    "refuses new lists",
                    "advice": "let the lists of users who are away leave instead: CONFIG SET "
                    "maxmemory-policy volatile-lru (and in redis.conf), or raise maxmemory",
                }
            ],
        },
    ),
    "dead-letters list": Sample(
        examples=("headwater dead-letters list --reason wrong_type --since 2h --json",),
        says="What could not be used and was not replayed yet, the newest that match; "
        "`other_topic`: of those shown, letters of a topic that was deleted and made anew, which "
        "`replay` leaves alone; see [dead-letters.md](dead-letters.md).",
        answer={
            "matched": 4, "shown": 1, "replayed": 6, "repeated": 0, "unreadable": 0,
            "other_topic": 0, "by_reason": {"wrong_type": 4},
            "letters": [
                {
                    "place": "interactions/2/1041", "time_ms": 1760000000000,
                    "reason": "wrong_type",
                    "detail": "ts: Input should be a valid integer, str came",
                    "topic": "interactions", "partition": 2, "offset": 1041,
                    "topic_id": "0cbe2f0d-9bd0-4c7e-8f66-3d2f1c1a5b0e",
                    "is_of_another_topic": False,
                    "value": '{"event_id": "e-3", "ts": "1759999999000"}', "value_base64": None,
                }
            ],
        },
    ),
    "dead-letters replay": Sample(
        examples=(
            "headwater dead-letters replay --reason wrong_type "
            "--through \"jq -c '.ts |= tonumber'\" --json",
        ),
        says="How many records were sent anew, or would be; exit code 1 when the log has lost one "
        "(`gone`), its topic was deleted and another one has the name now (`other_topic`), or one "
        "is too large to send.",
        answer={
            "matched": 4, "replayed": 4, "gone": 0, "other_topic": 0, "left": 0, "too_large": 0,
            "superseded": 0, "more": 0,
            "already": 6, "topics": {"interactions": 4}, "verdicts": {"good": 4}, "dry_run": False,
        },
    ),
    "verify-erased": Sample(
        examples=("headwater verify-erased ann --json",),
        says="What each store holds of the user: `none`; `waits` (retained as the log is, until "
        "`until_ms`, or in a snapshot of before the erase); `back` (of what the user did after the "
        "erase); `found` (it must not be there: exit code 1). Reads the topics whole. The id is "
        "not repeated: `user_hash` is what stands in the tombstone's name.",
        answer={
            "user_hash": "8d3adf6abf23f3a5", "is_fine": True, "is_gone": False,
            "erased_at_ms": 1750000600000, "is_back": False, "until_ms": 1750605400000,
            "stores": [
                {
                    "store": "interactions", "status": "waits", "found": 13,
                    "until_ms": 1750605400000, "text": "13 records, retained as the log is",
                },
            ],
        },
    ),
}  # fmt: skip

# Every verdict of ``explain`` and what it means.
VERDICTS: Mapping[str, str] = {
    "in_list": "it stands in the list; `reranking` has its place",
    "unknown_item": "the catalogue does not know the id",
    "removed": "withdrawn: the topic `items` has a record without a value for it",
    "hidden": "announced with a status that forbids recommending it",
    "not_interested": "the user said so",
    "seen": "consumed before, and `HEADWATER_RANKING__REPEATS` excludes that",
    "not_proposed": "no source proposes it, not even with ten times its bound",
    "beyond_source_bound": "proposed only beyond `HEADWATER_RETRIEVAL__MAX_PER_SOURCE`",
    "cut_from_candidates": "proposed, but beyond `HEADWATER_RETRIEVAL__MAX_CANDIDATES`",
    "unscored": "the ranker gave no number",
    "author_cap": "`HEADWATER_RANKING__MAX_PER_AUTHOR` better items of its author stand before it",
    "below_cut": "scored, but others stand better; `ranking` has its rank",
}
