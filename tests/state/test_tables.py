"""Every registered table: split-invariance, determinism, snapshot, bound, interleaving."""

import importlib
import inspect
import random
from pathlib import Path

import numpy as np
import pytest

import state
from state.snapshot import decode, encode
from state.table import Table
from tests.state.contracts import Contract

CONTRACTS: list[Contract] = [
    contract
    for path in sorted(Path(__file__).parent.glob("contract_*.py"))
    for contract in importlib.import_module(f"tests.state.{path.stem}").CONTRACTS
]
every_table = pytest.mark.parametrize("table", CONTRACTS, ids=lambda table: table.name)
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


def tables_of_the_room() -> list[type]:
    """Return the classes in ``state`` that are tables by their methods."""
    found = set()
    for path in sorted(Path(state.__file__).parent.glob("[a-z]*.py")):
        module = importlib.import_module(f"state.{path.stem}")
        for _, each in inspect.getmembers(module, inspect.isclass):
            if all(hasattr(each, name) for name in ("arrays", "restore", "sizes")):
                found.add(each)
    return sorted(found - {Table}, key=lambda each: each.__name__)


@pytest.mark.parametrize("kind", tables_of_the_room(), ids=lambda kind: kind.__name__)
def test_every_table_is_registered_itself_or_as_a_part(kind: type) -> None:
    wholes = [contract.make() for contract in CONTRACTS]
    parts = [part for each in wholes for part in (each, *vars(each).values())]
    assert any(isinstance(part, kind) for part in parts), f"{kind.__name__} has no Contract"


def whole(table: Contract, seed: int) -> bytes:
    made, records = table.make(), table.records(seed)
    table.apply(made, records, 0, len(records))
    return table.digest(made)


@every_table
@SEEDS
def test_any_cut_gives_the_same_state(table: Contract, seed: int) -> None:
    records, draw = table.records(seed), random.Random(seed)
    for most in (1, 2, 7, 100):
        made, begin = table.make(), 0
        while begin < len(records):
            end = min(len(records), begin + draw.randint(1, most))
            table.apply(made, records, begin, end)
            begin = end
        assert table.digest(made) == whole(table, seed)


@every_table
@SEEDS
def test_the_same_log_gives_the_same_arrays(table: Contract, seed: int) -> None:
    first, second = table.make(), table.make()
    records = table.records(seed)
    for made in (first, second):
        table.apply(made, records, 0, len(records))

    arrays, again = first.arrays(), second.arrays()
    assert [*arrays] == [*again]
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], again[name], err_msg=name)


@every_table
def test_different_logs_give_different_states(table: Contract) -> None:
    assert whole(table, 0) != whole(table, 1)


@every_table
@SEEDS
@pytest.mark.parametrize("at", [0, 1, 50, 99])
def test_a_snapshot_goes_on_as_if_nothing_had_been(table: Contract, seed: int, at: int) -> None:
    records, made, restored = table.records(seed), table.make(), table.make()
    table.apply(made, records, 0, at)
    # Through the codec, into a table that has held something else.
    arrays, _ = decode(b"".join(encode(made.arrays(), {})))
    table.apply(restored, table.records(seed + 7), 0, 20)

    restored.restore(arrays)

    assert table.digest(restored) == table.digest(made)
    table.apply(restored, records, at, len(records))
    assert table.digest(restored) == whole(table, seed)


@every_table
@SEEDS
def test_sizes_stay_within_bounds_and_reach_one(table: Contract, seed: int) -> None:
    records, made, full = table.records(seed), table.make(), False
    for i in range(len(records)):
        table.apply(made, records, i, i + 1)
        sizes = made.sizes()
        assert all(0 <= used <= bound for used, bound in sizes.values()), sizes
        full = full or any(used == bound for used, bound in sizes.values())
    assert full, "the contract's log should reach a bound"


@pytest.mark.parametrize(
    "table",
    [table for table in CONTRACTS if table.interleave],
    ids=lambda table: table.name,
)
@SEEDS
def test_free_orders_give_the_same_state(table: Contract, seed: int) -> None:
    assert table.interleave is not None
    assert table.roomy is not None
    draw, digests = random.Random(seed), set()
    for _ in range(4):
        sources = [list(each) for each in table.interleave(table.records(seed))]
        made = table.roomy()
        while any(sources):
            source = draw.choice([each for each in sources if each])
            table.apply(made, [source.pop(0)], 0, 1)
        digests.add(table.digest(made))
    assert len(digests) == 1
