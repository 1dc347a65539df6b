"""A real HTTP service of a small network in this process: naive.py, which speaks the service's protocol."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from naive import Handler, Naive


@contextlib.contextmanager
def serving(folder: Path, handler: type[Handler] = Handler) -> Iterator[str]:
    """Yield the address of a running server of an artifact."""
    with Naive(("127.0.0.1", 0), folder, None, 1) as server:
        server.RequestHandlerClass = handler
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.classifier.__exit__(None, None, None)
