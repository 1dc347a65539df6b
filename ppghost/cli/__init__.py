"""The command line: `ppghost VERB ...` and PaddleClas' `tools/*.py`, which are one verb each.

The only room that prints, parses arguments, configures logging and chooses exit codes: 0 done, 1 failed
(training broke, an export differs, some pictures could not be read), 2 cannot be done as asked, 130 stopped
by Ctrl-C. Heavy rooms are imported when a verb runs, so that help starts fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

__all__ = ["main"]


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one verb and return the exit code.

    Args:
        arguments: the words after the program's name; None takes them from the process.
    """
    # Programs of deploy/ share `ppghost.cli.program`, and need not wait for every verb's imports.
    from ppghost.cli.commands import run

    return run(arguments)
