"""Worker processes: what happens when they are killed, interrupted, or meet a defect, and that none stay."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest

from ppghost.config import loading
from ppghost.data import Loader
from ppghost.errors import DataError
from ppghost.vision import Rng

from . import pictures

MakeLoader = Callable[..., Loader]

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(),
    reason="worker processes need a system that can fork; run on Linux",
)

REPOSITORY = Path(__file__).resolve().parents[2]


def workers_of_this_process() -> list[Any]:
    return multiprocessing.active_children()


@pytest.fixture(autouse=True)
def _no_worker_stays() -> Any:
    yield
    gc.collect()
    assert workers_of_this_process() == []


def test_dropping_the_loader_ends_its_workers(make_loader: MakeLoader) -> None:
    loader = make_loader(workers=2)
    batches = loader.batches(1)
    next(batches)
    pids = [worker.pid for worker in workers_of_this_process()]
    assert len(pids) == 2
    del loader, batches
    gc.collect()
    for pid in pids:
        with pytest.raises(ProcessLookupError):  # a zombie would still take the signal
            os.kill(pid, 0)


def test_workers_stay_between_epochs(make_loader: MakeLoader) -> None:
    loader = make_loader(workers=2)
    seen = []
    for epoch in (1, 2):
        list(loader.batches(epoch))
        seen.append(sorted(worker.pid for worker in workers_of_this_process()))
    assert seen[0] == seen[1]
    loader.close()


@pytest.mark.parametrize("shared", [True, False])
def test_a_killed_worker_is_an_error_and_the_loader_can_go_on(make_loader: MakeLoader, shared: bool) -> None:
    loader = make_loader(workers=2, shared=shared, sampler=loading.DistributedBatchSampler(2))
    batches = loader.batches(1)
    next(batches)
    victim = workers_of_this_process()[0]
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    with pytest.raises(DataError, match=r"killed by signal 9.*num_workers"):
        list(batches)
    assert workers_of_this_process() == []
    assert sum(batch.size for batch in loader.batches(1)) == 23
    loader.close()


def test_workers_ignore_interrupts(make_loader: MakeLoader) -> None:
    loader = make_loader(workers=2)
    batches = loader.batches(1)
    next(batches)
    for worker in workers_of_this_process():
        os.kill(worker.pid, signal.SIGINT)
    assert sum(batch.size for batch in batches) == 19
    loader.close()


def test_opencv_threads_of_the_parent_do_not_hang_the_workers(make_loader: MakeLoader) -> None:
    large = np.zeros((3000, 3000, 3), np.uint8)
    cv2.GaussianBlur(cv2.resize(large, (2500, 2500)), (9, 9), 0)  # starts OpenCV's thread pool, if it has one
    loader = make_loader(workers=2, ops=[pictures.DECODE, {"ResizeImage": {"size": 900}}, pictures.NORMALIZE])
    assert sum(batch.size for batch in loader.batches(1)) == 23
    loader.close()


class OwnError(Exception):
    """Takes two arguments, as few exceptions do that survive pickling."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Defective:
    """An op that raises what it was given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, image: Any, rng: Rng) -> Any:
        """Raise on a picture of the second row of colours, pass the others."""
        if image.shape[0] == 20:
            raise self.error
        return image


def with_defect(folder: Path, error: Exception) -> loading.ImageNetDataset:
    from ppghost.vision import Pipeline

    decode, *rest = Pipeline.from_list(pictures.EVAL_OPS).ops
    (folder / "p" / "0.png").write_bytes((folder / "p" / "1.png").read_bytes())
    ops = (decode, Defective(error), *rest)
    return loading.ImageNetDataset(str(folder), str(folder / "list.txt"), transform_ops=ops)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_arrives_as_itself(make_loader: MakeLoader, folder: Path, workers: int) -> None:
    loader = make_loader(
        workers=workers, dataset=with_defect(folder, KeyError("a defect")), sampler=loading.BatchSampler(3)
    )
    with pytest.raises(KeyError, match="a defect") as caught:
        list(loader.batches(1))
    if workers:
        assert "raise self.error" in str(caught.value.__cause__), "where it happened is lost"
    loader.close()


def test_an_exception_that_cannot_travel_keeps_its_words(make_loader: MakeLoader, folder: Path) -> None:
    dataset = with_defect(folder, OwnError(7, "a defect"))
    loader = make_loader(workers=2, dataset=dataset, sampler=loading.BatchSampler(3))
    with pytest.raises(RuntimeError, match="OwnError: 7: a defect"):
        list(loader.batches(1))
    loader.close()


SCRIPT = """
    from ppghost.config import loading
    from ppghost.data import build_loader
    from ppghost.vision import Pipeline

    ops = Pipeline.from_list({ops!r}).ops
    dataset = loading.ImageNetDataset({folder!r}, {folder!r} + "/list.txt", transform_ops=ops)
    split = loading.Split(dataset, loading.DistributedBatchSampler(2), loading.Loader(num_workers=3))
    loader = build_loader(
        split, seed=0, rank=0, world_size=1, epochs=9999, class_num=5, training=True
    )
    for epoch in range(1, 9999):
        for batch in loader.batches(epoch):
            print(batch.number, flush=True)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    script = folder / "main.py"
    text = SCRIPT.format(ops=pictures.EVAL_OPS, folder=str(folder))
    script.write_text(textwrap.dedent(text), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-W", "error::DeprecationWarning:ppghost", str(script)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background has them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def group_is_gone(process: subprocess.Popen[str]) -> bool:
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_no_main_guard_needed_and_ctrl_c_leaves_one_traceback_and_no_process(folder: Path) -> None:
    process = start(folder)
    assert process.stdout is not None
    assert [int(process.stdout.readline() or -1) for _ in range(24)] == [*range(12), *range(12)]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes at once
    _, err = process.communicate(timeout=60)
    assert err.count("Traceback (most recent call last)") == 1, err
    assert err.count("KeyboardInterrupt") == 1, err
    assert group_is_gone(process)


def test_workers_leave_when_their_parent_is_killed(folder: Path) -> None:
    process = start(folder)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate(timeout=60)  # returns when the last holder of the pipes, the workers, is gone
    assert process.returncode == -signal.SIGKILL
