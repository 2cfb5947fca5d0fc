import asyncio
import sys

import pytest

from consumers.repair import Repair
from stream.errors import ConfigurationError


def program(text):
    """Return a command that runs Python."""
    quoted = text.replace("'", "'\"'\"'")
    return f"{sys.executable} -c '{quoted}'"


def mend(text, values, **options):
    return asyncio.run(Repair(program(text), **options).mend(values))


UPPER = "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line.upper())"


def test_each_value_is_a_line_in_and_a_line_out_in_order():
    assert mend(UPPER, [b"a", b"\xff b", b"c"]) == [b"A", b"\xff B", b"C"]


def test_line_breaks_inside_a_value_become_spaces():
    assert mend(UPPER, [b'{\r\n "a":\n1}', b"x"]) == [b'{  "A": 1}', b"X"]


def test_an_empty_line_leaves_a_value():
    leave = "import sys\nfor line in sys.stdin: print(line.strip() if 'good' in line else '')"
    assert mend(leave, [b"good", b"bad", None, b"good too"]) == [b"good", None, None, b"good too"]


def test_many_values_do_not_block_the_pipe():
    values = [b"%06d" % number * 20 for number in range(5_000)]
    assert mend(UPPER, values) == values


@pytest.mark.parametrize(
    "text, words",
    [
        ("print('one')", "expected 2 lines .* got 1 and 0"),
        ("print(1); print(2); print(3)", "got 3 and 0"),
        ("", "got 0 and 0"),
        ("import sys; print(1); print(2); sys.exit('no such field')", "2 and 1.*no such field"),
    ],
)
def test_a_program_that_fails_is_named_with_its_last_words(text, words):
    with pytest.raises(ConfigurationError, match=words):
        mend(text, [b"a", b"b"])


def test_a_program_that_never_answers_is_ended():
    with pytest.raises(ConfigurationError, match="they did not come"):
        mend("import time\nwhile True: time.sleep(60)", [b"a"], timeout_s=0.5)


@pytest.mark.parametrize("command", ["", "'", "/no/such/program --with arguments"])
def test_a_command_that_cannot_run_is_refused(command):
    with pytest.raises(ConfigurationError, match="--through: expected a program"):
        asyncio.run(Repair(command).mend([b"a"]))
