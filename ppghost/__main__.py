"""Where the program `ppghost VERB ...` starts, and `python -m ppghost VERB ...` with it.

Light: the rest is imported where Ctrl-C is caught already, for that takes a second and more.
"""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def run() -> int:
    """Run the program; return its exit code, 130 when Ctrl-C came before it had loaded itself."""
    try:
        from ppghost.cli import main

        return main()
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(run())
