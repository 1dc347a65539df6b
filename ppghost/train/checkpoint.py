"""Checkpoints in PaddleClas' layout, written so that a kill at any moment leaves one that loads.

A checkpoint is a set of files with one prefix: `.pdparams` (weights), `.pdopt` (a list of optimizer states),
`.pdstates` (metric, epoch and, under "ppghost", what an exact resume needs) and, with EMA, `.pdema`. A set is
committed by one rename: the new files are written and synced in `.PREFIX.writing`, that folder is renamed to
`.PREFIX.ready`, then its files move into place. A kill before the rename leaves the old set, a kill after it
leaves a ready folder that the next reader moves into place first.

House: imports paddle, the zoo's reader of weight files and the rock.
"""

from __future__ import annotations

import errno
import logging
import os
import pickle
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import paddle

from ppghost.errors import OutputError, WeightsError
from ppghost.files import flush_to_disk
from ppghost.unpickle import ArrayUnpickler, ForbiddenPickleError
from ppghost.zoo.weights import State, read_weights

logger = logging.getLogger(__name__)

STATE_VERSION = 1
_LOCK = ".lock"


@dataclass(frozen=True)
class Position:
    """Where a run stands: everything beside weights and optimizers that an exact resume needs.

    Attributes:
        epoch: epochs that are complete.
        step: training steps done in the epoch after those; 0 at an epoch's end.
        global_step: training steps done in all.
        best_metric: best evaluation metric so far, -1 before the first evaluation.
        best_epoch: the epoch it came from, 0 before the first.
        best_metric_ema: the same for the averaged weights.
        metric: the metric of the last evaluation; PaddleClas' `.pdstates` has it.
        arch: name of the architecture.
        class_num: number of classes.
        world_size: number of processes of the run.
        scaler: state of the loss scaler of mixed precision.
        steps: training steps of an epoch, 0 where unknown.
        ema: whether `.pdparams` holds averaged weights and `.pdema` the raw ones; None where unknown.
    """

    epoch: int = 0
    step: int = 0
    global_step: int = 0
    best_metric: float = -1.0
    best_epoch: int = 0
    best_metric_ema: float = -1.0
    metric: float = 0.0
    arch: str = ""
    class_num: int = 0
    world_size: int = 1
    scaler: Optional[dict[str, Any]] = None
    steps: int = 0
    ema: Optional[bool] = None

    def to_states(self) -> dict[str, Any]:
        """Return the content of `.pdstates`: PaddleClas' two keys and ours."""
        return {
            "metric": self.metric,
            "epoch": self.epoch,
            "ppghost": {"version": STATE_VERSION, **asdict(self)},
        }

    @classmethod
    def from_states(cls, states: Mapping[str, Any], prefix: str) -> Position:
        """Read `.pdstates` of ours or of PaddleClas, which knows only metric and epoch.

        Raises:
            WeightsError: the content is neither, or of a newer ppghost.
        """
        if not isinstance(states, Mapping):
            raise WeightsError(f"{prefix}.pdstates holds a {type(states).__name__}, not a mapping.")
        ours = states.get("ppghost", {})
        if not isinstance(ours, Mapping):
            raise WeightsError(f"{prefix}.pdstates holds a {type(ours).__name__} of ppghost, not a mapping.")
        ours = dict(ours)
        if ours.pop("version", STATE_VERSION) != STATE_VERSION:
            raise WeightsError(
                f"{prefix}.pdstates was written by a newer ppghost: update ppghost to resume from it."
            )
        try:
            position = cls(**ours) if ours else cls._of_paddleclas(states)
            is_sound = min(position.epoch, position.step, position.global_step) >= 0
        except (TypeError, ValueError, KeyError) as error:
            raise WeightsError(
                f"{prefix}.pdstates says where a run stands, but cannot be understood: {error}. "
                "Resume from another checkpoint, or start anew from its weights with "
                "-o Global.pretrained_model=..."
            ) from error
        if not is_sound:
            raise WeightsError(f"{prefix}.pdstates counts epochs or steps below zero: {position}.")
        return position

    @classmethod
    def _of_paddleclas(cls, states: Mapping[str, Any]) -> Position:
        epoch, metric = int(states["epoch"]), float(states["metric"])
        return cls(epoch=epoch, best_metric=metric, best_epoch=epoch, metric=metric)


@dataclass(frozen=True)
class Checkpoint:
    """What is read back: plain states, not yet in any network."""

    params: State
    optimizers: list[dict[str, Any]]
    position: Position
    ema: Optional[State]


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold an output folder for one training; the system frees it when that dies, however it dies.

    Two would replace each other's checkpoints file by file. A record lock, since worker processes, which
    may outlive a killed training for a moment, do not inherit it. Windows has none: nothing is held there.

    Side effect: leaves the hidden file `.lock` in the folder.

    Raises:
        OutputError: another process holds it, or it cannot be written.
    """
    if sys.platform == "win32":
        yield
        return
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(f"Cannot write {folder / _LOCK}: {error.strerror}.") from error
    try:
        _hold(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _hold(descriptor: int, folder: Path) -> None:
    """Lock a file and write into it who did, for the message that another one gets."""
    import fcntl  # not on Windows

    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} of {platform.node()}".encode(), 0)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            logger.warning(
                "%s cannot be locked (%s): make sure that no other training writes there.",
                folder,
                error.strerror,
            )
            return
        holder = os.pread(descriptor, 1000, 0).decode(errors="replace") or "another process"
        raise OutputError(
            f"Another training ({holder}) writes into {folder}. Wait for it, end it, or choose another "
            "folder: -o Global.output_dir=..."
        ) from error


def write_checkpoint(folder: Path, name: str, files: Mapping[str, Any]) -> Path:
    """Write one checkpoint as a whole and return its prefix, `folder/name`.

    Args:
        folder: output folder, created where missing.
        name: `latest`, `best_model` or `epoch_N`.
        files: path relative to `folder` -> object for `paddle.save`, such as `latest.pdparams`.

    Raises:
        OutputError: the folder cannot be written or the disk is full; what was there before still loads.
    """
    writing, ready = _journal(folder, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        recover(folder, name)
        shutil.rmtree(writing, ignore_errors=True)
        for relative, content in files.items():
            target = writing / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            paddle.save(content, str(target))
            flush_to_disk(target)
        writing.rename(ready)
        recover(folder, name)
    except OSError as error:
        shutil.rmtree(writing, ignore_errors=True)
        raise OutputError(
            f"Cannot save the checkpoint {folder / name}: {error.strerror or error}. The one saved before is "
            "untouched. Free space or choose another folder with -o Global.output_dir=..."
        ) from error
    return folder / name


def recover(folder: Path, name: str) -> None:
    """Finish a commit that a kill interrupted: move the files of a ready folder into place."""
    _, ready = _journal(folder, name)
    if not ready.is_dir():
        return
    for source in sorted(path for path in ready.rglob("*") if path.is_file()):
        target = folder / source.relative_to(ready)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
    shutil.rmtree(ready)


def recover_all(folder: Path) -> None:
    """Finish every interrupted commit in a folder."""
    for ready in folder.glob(".*.ready"):
        recover(folder, ready.name[1 : -len(".ready")])


def read_checkpoint(prefix: str, *, ema: bool) -> Checkpoint:
    """Read the checkpoint with the given prefix (`output/latest`, without suffix).

    Args:
        prefix: path without suffix, as `Global.checkpoints` takes it.
        ema: whether the run that resumes keeps averaged weights. Then `.pdparams` holds those and `.pdema`
            the raw ones, as in PaddleClas.

    Raises:
        WeightsError: a file is missing, or is no file of this kind, or `ema` is not what the checkpoint has.
    """
    path = Path(prefix).expanduser()
    recover(path.parent, path.name)
    suffixes = (".pdparams", ".pdopt", ".pdstates")
    missing = [suffix for suffix in suffixes if not path.with_name(path.name + suffix).is_file()]
    if missing:
        raise WeightsError(_missing_sentence(path, missing))
    optimizers, states = (_read(path.with_name(path.name + suffix)) for suffix in (".pdopt", ".pdstates"))
    position = Position.from_states(states, prefix)
    raw_file = path.with_name(path.name + ".pdema")
    _check_ema(path, has=raw_file.is_file() if position.ema is None else position.ema, wants=ema)
    params = read_weights(path.with_name(path.name + ".pdparams"))
    raw, average = (read_weights(raw_file), params) if ema else (params, None)
    if not isinstance(optimizers, list):
        optimizers = [optimizers]
    return Checkpoint(raw, optimizers, position, average)


def _check_ema(path: Path, *, has: bool, wants: bool) -> None:
    if has == wants:
        return
    found, given, remedy = (
        ("keeps averaged weights beside the raw ones", "no EMA section", "-o EMA.decay=...")
        if has
        else ("keeps no averaged weights", "an EMA section", "-o EMA=null")
    )
    raise WeightsError(
        f"The checkpoint {path} {found}, but the configuration has {given}. Resume with {remedy}; to start "
        "anew from its weights use -o Global.pretrained_model=... instead of Global.checkpoints."
    )


def _missing_sentence(path: Path, missing: list[str]) -> str:
    there = sorted({file.name[: -len(".pdopt")] for file in path.parent.glob("*.pdopt")})
    known = f" {path.parent} has: {', '.join(there)}." if there else ""
    return (
        f"No checkpoint {path}: {', '.join(path.name + suffix for suffix in missing)} is not there.{known} "
        "Give the path without suffix, such as -o Global.checkpoints=output/latest; to load weights alone, "
        "use -o Global.pretrained_model=..."
    )


def _read(path: Path) -> Any:
    """Read what `paddle.save` wrote, without executing anything that the file asks for."""
    try:
        with path.open("rb") as stream:
            return _with_tensors(ArrayUnpickler(stream).load())
    except ForbiddenPickleError as error:
        raise WeightsError(
            f"{path} asks for {error}, which no checkpoint needs; it is not read, because reading it would "
            "run what it asks for. Use a checkpoint from a source that you trust."
        ) from error
    except (OSError, ValueError, EOFError, pickle.UnpicklingError, TypeError, LookupError) as error:
        raise WeightsError(f"{path} cannot be read: {error}. It is truncated or no Paddle file.") from error


def _with_tensors(value: Any) -> Any:
    """Turn Paddle's written form of a tensor, (name, array), into a tensor, however deep it lies."""
    if isinstance(value, dict):
        return {key: _with_tensors(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_tensors(item) for item in value]
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], np.ndarray):
        return paddle.to_tensor(value[1])
    return value


def _journal(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f".{name}.writing", folder / f".{name}.ready"
