"""Serve an exported model over HTTP and gRPC with Paddle Serving, in its isolated environment.

    python deploy/serving/serve.py inference -o http_port=8080

Makes the environment where it is missing (minutes, once), then becomes the server in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1]))  # a checkout in which ppghost is not installed

import ppghost  # noqa: E402 - found by the line before
from ppghost.cache import cache_dir  # noqa: E402 - as above
from ppghost.environments import SERVING, ensure_environment  # noqa: E402 - as above
from ppghost.errors import GhostError  # noqa: E402 - as above


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Become the server; return an exit code where that is not possible."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        python = ensure_environment(SERVING)
    except GhostError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    places = [str(HERE), str(_alone(Path(ppghost.__file__).resolve().parent))]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    os.execve(python, [str(python), "-m", "server", *given], variables)


def _alone(package: Path) -> Path:
    """Return a folder with the package and nothing of what is installed beside it, for another Python."""
    place = cache_dir() / "serving" / hashlib.sha256(os.fsencode(package)).hexdigest()[:12]
    place.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (place / package.name).symlink_to(package, target_is_directory=True)
    return place


if __name__ == "__main__":
    sys.exit(main())
