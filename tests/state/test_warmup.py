"""After the warm-up an ordinary log compiles nothing more."""

import numpy as np

from state import (
    admission,
    event_ids,
    history,
    id_kernels,
    seen,
    user_columns,
    user_digest,
    user_fold,
    user_tables,
    warmup,
)
from state.user_limits import UserLimits
from tests.state.user_builders import Log, SmallCatalogue, apply, digest
from tests.state.user_logs import make
from tests.state.user_oracle import ERASE, LIKE, Event

MODULES = (
    admission,
    event_ids,
    history,
    id_kernels,
    seen,
    user_columns,
    user_digest,
    user_fold,
    user_tables,
)


def num_compiled() -> dict[str, int]:
    return {
        f"{module.__name__}.{name}": len(each.signatures)
        for module in MODULES
        for name, each in vars(module).items()
        if hasattr(each, "signatures")
    }


def test_after_the_warm_up_nothing_is_compiled_for_the_user_side() -> None:
    warmup.compile_user_kernels()
    before = num_compiled()
    limits = UserLimits(max_users=4, max_items=5, max_event_ids=9)
    log: Log = [
        Event(f"{i % 7}".encode(), f"{i % 9}".encode(), f"{i}".encode(), i, i % 7, i, 9)
        for i in range(60)
    ]
    log += [Event(b"1", b"", b"erase", 99, ERASE), Event(b"1", b"x", b"0", 99, LIKE)]
    first, second = make(limits, SmallCatalogue()), make(limits, None)
    for partition in (first, second):
        apply(partition, log, 0, 30)
        apply(partition, log, 30, len(log))
        partition.read_users(
            partition.users.live_rows(), now_ms=np.full(4, 200)[: len(partition.users)]
        )
        digest(partition)

    second.restore(first.arrays())

    assert num_compiled() == before
