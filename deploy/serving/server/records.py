"""The log: one JSON object a line on standard error, whatever is in the words. No Paddle Serving."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

LOG = logging.getLogger("ppghost.serving")


class _JsonLines(logging.Formatter):
    """Write a record as JSON; line ends and control characters of its words are escaped by that."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line: time, level, event and the fields given with `tell`."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.name != LOG.name:
            fields["logger"] = record.name
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def write_records() -> None:
    """Send the log of this process to standard error.

    Side effects: what Paddle Serving did to the log when it was imported is undone: its files of gigabytes,
    and the silence of every logger that was there before.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    for earlier in root.handlers[:]:
        root.removeHandler(earlier)
        earlier.close()
    root.addHandler(handler)
    for logger in root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False
    root.setLevel(logging.WARNING)
    logging.getLogger("paddle_serving_server").setLevel(logging.ERROR)  # it warns of every default it takes
    LOG.setLevel(logging.INFO)


def tell(event: str, **fields: object) -> None:
    """Write one record: what happened, and its facts."""
    LOG.info(event, extra={"fields": fields})
