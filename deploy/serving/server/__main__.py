"""`python -m server ARTIFACT`: serve an artifact, in an environment that has everything. See `serve.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from ppghost.errors import GhostError
from server.records import write_records
from server.settings import read_settings
from server.supervisor import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `serve.py` and this program both take."""
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="the folder that an export wrote")
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="settings (default: config.yml beside serve.py)"
    )
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another setting, for example http_port=0 or limits.pictures=8; may be repeated",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("serving_run"),
        metavar="FOLDER",
        help="where Paddle Serving's folders and logs are written (default: serving_run)",
    )


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Serve, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="serve.py", description="Serve an exported model over HTTP and gRPC."
    )
    add_arguments(parser)
    given = parser.parse_args(arguments)
    write_records()
    try:
        return serve(given.artifact, given.folder, read_settings(given.config, given.override))
    except GhostError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
