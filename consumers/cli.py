"""The command ``headwater``: where its process begins.

Importing what the commands need takes a second or more. Ctrl-C is to be as quiet in it as later,
so that nothing heavy is imported here; the commands are in :mod:`consumers.commands`.
"""

from __future__ import annotations

from consumers.interrupts import INTERRUPTED, end_quietly, interrupts_end_quietly


def main() -> None:
    """Run the command line; every failure of the world is one line on stderr."""
    try:
        with interrupts_end_quietly():
            from consumers.commands import run
        run()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    finally:
        end_quietly()  # Python takes some tenths of a second to end.


if __name__ == "__main__":
    main()
