"""Errors that are meant for the user: what was given, what is accepted, what to do.

Rock: imports nothing of ours. The command line prints the message of a `GhostError` without a traceback
and leaves with its `exit_code`; every other exception is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GhostError(Exception):
    """Base of every error that tells the user what to do."""

    exit_code = 2


class ConfigError(GhostError):
    """A configuration file or an override cannot be honoured."""


class PipelineError(ConfigError, ValueError):
    """An image op stands where it cannot work, or draws random numbers where none may be drawn."""


class DataError(GhostError):
    """Pictures, list files or labels are missing or broken."""


class WeightsError(GhostError):
    """Weights or a checkpoint are missing, corrupt or of another network."""


class ArtifactError(GhostError):
    """An exported folder is incomplete or was changed."""


class ToolMissingError(GhostError):
    """A program or package that a step needs is not installed."""


class OutputError(GhostError):
    """Results cannot be written: no permission, no space, not a folder."""


class TrainingError(GhostError):
    """Training cannot go on: the loss is not finite, or too many pictures are broken."""

    exit_code = 1


class VerificationError(GhostError):
    """An exported model does not give the numbers of the network it came from."""

    exit_code = 1


def suggest(given: str, accepted: Iterable[str], *, most: int = 5) -> str:
    """Return a sentence that names what is accepted, the nearest names first.

    Args:
        given: the name that is not accepted.
        accepted: every accepted name.
        most: how many names to list when none is near.
    """
    names = sorted(set(accepted))
    lowered = {name.lower(): name for name in names}
    near = [lowered[key] for key in difflib.get_close_matches(given.lower(), lowered, n=3, cutoff=0.6)]
    if near:
        return f"Did you mean {' or '.join(repr(name) for name in near)}?"
    if not names:
        return "Nothing is accepted here."
    listed = ", ".join(names[:most])
    return (
        f"Accepted: {listed}." if len(names) <= most else f"Accepted: {listed} and {len(names) - most} more."
    )
