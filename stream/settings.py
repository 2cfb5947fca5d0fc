"""Every setting of Headwater: unit, bound, default and one line of meaning.

Read once, in ``consumers``, from the environment (prefix ``HEADWATER_``, nested with ``__``:
``HEADWATER_USERS__MAX_USERS=200000``) and handed on as keyword arguments; no other module reads
the environment and no object holds a Settings. ``docs/configuration.md`` is written from here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS
_YEAR_MS = 366 * _DAY_MS
# What Kafka takes as the name of a topic; "." and ".." are none.
_Topic = Annotated[
    str, StringConstraints(pattern=r"^\.*[a-zA-Z0-9_-][a-zA-Z0-9._-]*$", max_length=249)
]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TopicSettings(_Group):
    """Kafka topics."""

    interactions: _Topic = Field("interactions", description="Topic of interactions.")
    items: _Topic = Field("items", description="Compacted topic of item announcements.")
    item_deltas: _Topic = Field(
        "headwater-item-deltas", description="Topic of derived rows by item."
    )
    item_signals: _Topic = Field(
        "headwater-item-signals", description="Compacted topic of signals."
    )
    dead_letters: _Topic = Field(
        "dead-letters", description="Topic of records that cannot be used."
    )
    partitions: int = Field(
        4, ge=1, le=1024, description="Partitions of interactions; fixed for a group id's life."
    )
    item_partitions: int = Field(4, ge=1, le=1024, description="Partitions of item-deltas.")
    replication: int = Field(1, ge=1, le=9, description="Replication factor of topics we create.")
    retention_ms: int = Field(
        7 * _DAY_MS, ge=_HOUR_MS, description="ms that interactions and item-deltas are kept."
    )

    @model_validator(mode="after")
    def _check_apart(self) -> Self:
        names = [self.interactions, self.items, self.item_deltas]
        names += [self.item_signals, self.dead_letters]
        # Kafka names its metrics with _ for a dot, and refuses a topic that differs by that alone.
        if len({name.replace(".", "_") for name in names}) < len(names):
            message = f"expected five topics, each with a name of its own, got {', '.join(names)}"
            raise ValueError(message)
        return self


class WorkerSettings(_Group):
    """A worker process."""

    group: str = Field("headwater", min_length=1, description="Kafka consumer group id.")
    instance_id: str | None = Field(
        None, description="Static membership id, unique per worker; none joins dynamically."
    )
    session_timeout_s: float = Field(
        6.0, ge=1.0, le=300.0, description="s after which the group gives up on a silent worker."
    )
    kafka_timeout_s: float = Field(
        90.0, ge=1.0, le=3600.0, description="s without an answer of Kafka that end the worker."
    )
    max_slab_bytes: int = Field(
        1_048_576, ge=65_536, le=16_777_216, description="bytes fetched per partition at a time."
    )
    snapshot_interval_s: float = Field(
        10.0, ge=0.1, le=3600.0, description="s between two snapshots of one partition."
    )
    snapshots: str = Field(
        "",
        description="Where snapshots lie: a folder or a URL (file://, s3://, any that fsspec "
        "opens and that outlives the worker); empty is `snapshots` in HEADWATER_DATA_DIR.",
    )
    snapshots_kept: int = Field(2, ge=1, le=100, description="Snapshots kept per partition.")
    snapshots_timeout_s: float = Field(
        3600.0,
        ge=1.0,
        le=604_800.0,
        description="s for which a partition's snapshots may fail; then the worker ends.",
    )
    store_timeout_s: float = Field(
        60.0,
        ge=1.0,
        le=3600.0,
        description="s that the snapshot store may take for one call, a whole snapshot for one; "
        "then it counts as away.",
    )
    health_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address that health and metrics listen on; 0.0.0.0 inside a container.",
    )
    health_port: int = Field(
        0, ge=0, le=65_535, description="Port of health and metrics; 0 takes a free one."
    )
    watchdog_s: float = Field(
        60.0, ge=1.0, le=3600.0, description="s without progress despite lag that end the worker."
    )
    stop_timeout_s: float = Field(
        30.0, ge=1.0, le=600.0, description="s that a graceful stop may take."
    )


class UserSettings(_Group):
    """User tables, per partition of interactions."""

    max_users: int = Field(1_000_000, ge=16, le=2**30, description="Users kept per partition.")
    max_items: int = Field(
        1_000_000, ge=64, le=2**30, description="Items named by histories, per partition."
    )
    max_history: int = Field(50, ge=4, le=255, description="Interactions kept per user.")
    max_event_ids: int = Field(
        4_000_000, ge=64, le=2**30, description="Event ids remembered against duplicates."
    )
    grace_ms: int = Field(
        _DAY_MS, ge=0, le=_YEAR_MS, description="ms behind stream time at which an event is late."
    )
    link_ms: int = Field(
        30 * _DAY_MS,
        ge=1000,
        le=10 * _YEAR_MS,
        description="ms within which two interactions pair.",
    )
    max_lags: int = Field(10, ge=1, le=50, description="Previous interactions that an event pairs.")
    pair_tau_ms: int = Field(
        6 * _HOUR_MS, ge=1000, le=10 * _YEAR_MS, description="ms scale of item-CF's weight by gap."
    )
    max_erased: int = Field(
        100_000, ge=1, le=2**30, description="Erase tombstones remembered per partition."
    )
    max_affinities: int = Field(16, ge=0, le=255, description="Tag and author keys per user.")
    seen_bits: int = Field(
        1024, ge=64, le=65_536, description="Bits of each of a user's two seen filters, 64s."
    )
    seen_items: int = Field(
        64, ge=1, le=2**31 - 1, description="Items after which the older seen filter is dropped."
    )
    strength_watch: int = Field(1, ge=0, le=255, description="Worth of a strong watch.")
    strength_like: int = Field(2, ge=0, le=255, description="Worth of a like.")
    strength_comment: int = Field(3, ge=0, le=255, description="Worth of a comment.")
    strength_share: int = Field(3, ge=0, le=255, description="Worth of a share.")
    strength_follow: int = Field(3, ge=0, le=255, description="Worth of a follow.")
    session_half_life_ms: int = Field(
        _HOUR_MS // 2, ge=1000, le=_YEAR_MS, description="Half-life (ms) of the session vector."
    )
    long_half_life_ms: int = Field(
        7 * _DAY_MS, ge=1000, le=10 * _YEAR_MS, description="Half-life (ms) of the long vector."
    )
    min_completion: float = Field(
        0.2, ge=0.0, le=1.0, description="Watched share from which a watch is strong."
    )
    max_events_per_minute: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Events of a user per minute of event time, the rest filtered; 0 = all.",
    )
    max_repeats_per_day: int = Field(
        10,
        ge=0,
        le=15,
        description="Repeats of a user on an item that count and pair per day of event time.",
    )


class ItemSettings(_Group):
    """Item tables, per partition of item-deltas."""

    max_items: int = Field(1_000_000, ge=64, le=2**30, description="Items owned per partition.")
    max_ids: int = Field(
        2_000_000, ge=64, le=2**30, description="Ids known per partition, neighbours included."
    )
    windows_ms: tuple[int, ...] = Field(
        (_DAY_MS, 30 * _DAY_MS), description="Lengths (ms) of one to three co-occurrence windows."
    )
    window_weights: tuple[float, ...] = Field(
        (1.0, 1.0), description="Weight of each window where they are blended."
    )
    num_generations: int = Field(4, ge=1, le=64, description="Parts that a window is dropped in.")
    generation_decay: float = Field(
        0.8, gt=0.0, le=1.0, description="Weight of a generation against the next newer."
    )
    max_pairs: int = Field(
        8_388_608, ge=64, le=2**33, description="Pair slots per window, 16 bytes each."
    )
    max_row_pairs: int = Field(
        512, ge=4, le=65_536, description="Pair slots of one item per generation, a power of two."
    )


class CatalogueSettings(_Group):
    """The catalogue that every worker replicates."""

    max_items: int = Field(1_000_000, ge=64, le=2**30, description="Items known to a worker.")
    dim: int = Field(64, ge=8, le=1024, description="Length of an embedding.")
    num_neighbours: int = Field(50, ge=1, le=1000, description="Neighbours kept per item.")
    half_lives_ms: tuple[int, ...] = Field(
        (5 * _MINUTE_MS, _HOUR_MS, _DAY_MS, 7 * _DAY_MS, 30 * _DAY_MS),
        description="Half-lives (ms) at which popularity is read, shortest first.",
    )


class SignalSettings(_Group):
    """Item signals: from an item's owner to every worker."""

    interval_s: float = Field(
        1.0, ge=0.0, le=3600.0, description="s between two signals of one item."
    )
    rows_per_s: int = Field(
        5_000, ge=1, le=1_000_000, description="Signals per s that a worker publishes."
    )
    trending_interval_s: float = Field(
        1.0, ge=0.1, le=3600.0, description="s between two writes of the trending list."
    )


class RetrievalSettings(_Group):
    """Candidate sources."""

    max_per_source: int = Field(100, ge=1, le=10_000, description="Candidates per source.")
    max_candidates: int = Field(300, ge=1, le=10_000, description="Candidates per user in all.")
    cooccurrence_history: int = Field(
        10, ge=1, le=512, description="Newest interactions that vote in co-occurrence."
    )
    cooccurrence_decay: float = Field(
        0.8, gt=0.0, le=1.0, description="Weight of a vote per step back, co-occurrence."
    )
    cooccurrence_smoothing: float = Field(
        2.0, ge=0.0, le=1e6, description="Added to both marginals of a pair."
    )
    two_way_weight: float = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description="Weight of pairs the other way round, cooccurrence-two-way.",
    )
    item_cf_history: int = Field(
        20, ge=1, le=512, description="Newest interactions that vote in item-CF."
    )
    item_cf_decay: float = Field(
        0.9, gt=0.0, le=1.0, description="Weight of a vote per step back, item-CF."
    )
    item_cf_smoothing: float = Field(
        2.0, ge=0.0, le=1e6, description="Added to both items' interactions, item-CF."
    )
    trending_weights: tuple[float, ...] = Field(
        (),
        description="Weight per half-life in trending, each of the same mass; empty is their "
        "fourth roots: an event counts about as age^-3/4.",
    )


class RankingSettings(_Group):
    """Ranker and slate."""

    ranker: Literal["auto", "fusion", "network"] = Field(
        "auto", description="auto: the network when weights are given, else fusion."
    )
    weights: Path | None = Field(None, description="Folder or manifest of the network's weights.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the network runs.")
    torch_threads: int = Field(1, ge=1, le=256, description="CPU threads of the network.")
    fusion_k: float = Field(20.0, gt=0.0, le=1000.0, description="k of reciprocal-rank fusion.")
    fusion_weights: tuple[float, ...] = Field(
        (2.0, 1.0, 2.0, 1.0, 0.5, 2.0, 0.2),
        description="Weight per candidate source in the fusion, in their order; [] = all alike.",
    )
    slate_size: int = Field(50, ge=1, le=1000, description="Items in a list (K).")
    repeats: Literal["allow", "exclude"] = Field(
        "exclude", description="Whether consumed items may be recommended again."
    )
    refill_seen: bool = Field(
        False, description="Whether consumed items fill a list that would be short."
    )
    max_per_author: int = Field(
        5, ge=0, le=1000, description="Items of one author in a list; 0 = no cap."
    )


class RefreshSettings(_Group):
    """The refresh loop."""

    interval_ms: int = Field(
        50, ge=0, le=3_600_000, description="ms between two refreshes of one user."
    )
    max_batch: int = Field(64, ge=1, le=4096, description="Users per micro-batch.")
    max_wait_ms: int = Field(
        10, ge=0, le=60_000, description="ms that a micro-batch waits to fill."
    )
    max_dirty: int = Field(
        200_000, ge=1, le=2**30, description="Users that wait; beyond it the least urgent is shed."
    )
    max_unanswered: int = Field(
        2_000_000, ge=1, le=2**30, description="Applied events followed for the freshness figure."
    )


class SinkSettings(_Group):
    """The Redis sink."""

    ttl_s: int = Field(30 * 86_400, ge=1, description="s that a list lives without a refresh.")
    max_batch: int = Field(512, ge=1, le=65_536, description="Lists per pipeline.")
    max_erasures: int = Field(
        100_000,
        ge=1,
        le=10_000_000,
        description="Erasures that wait for Redis; one more ends the worker.",
    )
    cluster: bool = Field(False, description="Whether the URL names a Redis Cluster.")


class KafkaSecuritySettings(_Group):
    """Connections to Kafka: TLS and SASL."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="What the brokers' listener speaks: SSL is TLS, SASL asks who."
    )
    ca_file: Path | None = Field(
        None, description="PEM file of who signs the brokers' certificates; none: the system's."
    )
    cert_file: Path | None = Field(None, description="PEM file of our own certificate, if asked.")
    key_file: Path | None = Field(None, description="PEM file of its key, without a passphrase.")
    verify_hostname: bool = Field(
        True, description="Whether a broker's certificate must name the host that we connect to."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How the password is shown, with a protocol of SASL."
    )
    user: str | None = Field(None, description="User, with a protocol of SASL.")
    password: SecretStr | None = Field(None, description="The user's password, or password_file.")
    password_file: Path | None = Field(None, description="File with the password in one line.")


class RedisSecuritySettings(_Group):
    """Connections to Redis: TLS (a URL with rediss://) and ACL user."""

    ca_file: Path | None = Field(
        None, description="PEM file of who signs the server's certificate; none: the system's."
    )
    cert_file: Path | None = Field(None, description="PEM file of our own certificate, if asked.")
    key_file: Path | None = Field(None, description="PEM file of its key, without a passphrase.")
    verify_hostname: bool = Field(
        True, description="Whether the certificate must name the host that we connect to."
    )
    user: str | None = Field(None, description="ACL user, where the URL names none.")
    password: SecretStr | None = Field(None, description="The user's password, or password_file.")
    password_file: Path | None = Field(None, description="File with the password in one line.")


class Settings(BaseSettings):
    """All settings; the environment's ``HEADWATER_*`` over the defaults here."""

    model_config = SettingsConfigDict(
        env_prefix="HEADWATER_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    kafka: str | None = Field(
        None, description="Bootstrap servers, host:port[,host:port]; demo and up start their own."
    )
    redis: SecretStr | None = Field(
        None, description="Redis URL, redis://host:port/0; demo and up start their own."
    )
    data_dir: Path = Field(
        Path.home() / ".local" / "state" / "headwater",
        description="Folder of snapshots and of the local servers' data.",
    )
    epoch: int = Field(
        0, ge=0, le=999_999, description="Raised when a topic is recreated; part of each version."
    )
    explain: bool = Field(
        False, description="Whether lists say in words why each item is there; twice the bytes."
    )
    kafka_security: KafkaSecuritySettings = Field(default_factory=KafkaSecuritySettings)
    redis_security: RedisSecuritySettings = Field(default_factory=RedisSecuritySettings)
    topics: TopicSettings = Field(default_factory=TopicSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    users: UserSettings = Field(default_factory=UserSettings)
    items: ItemSettings = Field(default_factory=ItemSettings)
    catalogue: CatalogueSettings = Field(default_factory=CatalogueSettings)
    signals: SignalSettings = Field(default_factory=SignalSettings)
    retrieval: RetrievalSettings = Field(default_factory=RetrievalSettings)
    ranking: RankingSettings = Field(default_factory=RankingSettings)
    refresh: RefreshSettings = Field(default_factory=RefreshSettings)
    sink: SinkSettings = Field(default_factory=SinkSettings)
