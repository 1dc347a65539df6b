"""The gate: how many requests may be under way in a worker, HTTP and gRPC together. No Paddle Serving."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from server.asks import Code, RefusalError
from server.board import Board


class Gate:
    """Counts requests and bytes in and out; safe for all threads.

    Args:
        queue: the most requests that are being answered.
        waiting_bytes: the most bytes of bodies that are being received.
        board: where the momentary figures stand.
    """

    def __init__(self, queue: int, waiting_bytes: int, board: Board) -> None:
        self._queue = queue
        self._bytes = waiting_bytes
        self._board = board
        self._changed = threading.Condition()
        self._under_way = 0
        self._waiting = 0
        self.is_closing = False

    @contextmanager
    def receiving(self, size_bytes: int) -> Iterator[None]:
        """Hold room for a body while it is received.

        Raises:
            RefusalError: the server stops, or there is no room.
        """
        with self._changed:
            self._check(self._waiting + size_bytes <= self._bytes, "bodies")
            self._waiting += size_bytes
        self._board.add("waiting_bytes", size_bytes)
        try:
            yield
        finally:
            with self._changed:
                self._waiting -= size_bytes
                self._changed.notify_all()
            self._board.add("waiting_bytes", -size_bytes)

    def enter(self, *, is_received: bool = False) -> None:
        """Take a place among the requests that are being answered; `leave` gives it back.

        Args:
            is_received: the body came through `receiving`, so it is answered even while the server stops.

        Raises:
            RefusalError: the server stops, or every place is taken.
        """
        with self._changed:
            self._check(self._under_way < self._queue, "requests", may_stop=not is_received)
            self._under_way += 1
        self._board.add("under_way")

    def leave(self) -> None:
        """Give the place back."""
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()
        self._board.add("under_way", -1.0)

    def _check(self, has_room: bool, what: str, *, may_stop: bool = True) -> None:
        if self.is_closing and may_stop:
            raise RefusalError(Code.STOPPING, "The server is shutting down. Ask another one, or later.")
        if not has_room:
            raise RefusalError(
                Code.BUSY, f"The server is busy: as many {what} as it takes are under way. Try again."
            )

    def close(self, seconds: float) -> bool:
        """Refuse what comes from now on, and wait for what is under way.

        Returns:
            Whether all of it was answered in time.
        """
        with self._changed:
            self.is_closing = True
            return self._changed.wait_for(lambda: not self._under_way and not self._waiting, seconds)
