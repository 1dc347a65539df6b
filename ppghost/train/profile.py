"""Record a part of a training with Paddle's profiler, as `-p "batch_range=[10,20];..."` asks.

House: imports paddle and the config room.
"""

from __future__ import annotations

import logging

import paddle
from paddle import profiler

from ppghost.config.sections import ProfilerOptions

logger = logging.getLogger(__name__)

_TARGETS = {
    "CPU": [profiler.ProfilerTarget.CPU],
    "GPU": [profiler.ProfilerTarget.GPU],
    "All": [profiler.ProfilerTarget.CPU, profiler.ProfilerTarget.GPU],
}
# Paddle sorts by no number of calls; the total time stands in, as it did in PaddleClas.
_ORDERS = {"calls": "Total", "total": "Total", "max": "Max", "min": "Min", "ave": "Avg"}


class StepProfiler:
    """Counts training steps and records those of `batch_range`; call it before each step.

    Side effects at the end of the range: writes the trace into `profile_path` unless `timer_only`, and Paddle
    prints its table.

    Attributes:
        is_finished: the range is over and the user wants the program to end then.
    """

    def __init__(self, options: ProfilerOptions) -> None:
        self._options = options
        self._steps = 0
        self.is_finished = False
        self._profiler = profiler.Profiler(
            targets=None if options.timer_only else self._targets(),
            scheduler=options.batch_range,
            on_trace_ready=profiler.export_chrome_tracing(options.profile_path),
            timer_only=options.timer_only,
        )

    def _targets(self) -> list[profiler.ProfilerTarget]:
        wanted = _TARGETS[self._options.state]
        return [target for target in wanted if paddle.is_compiled_with_cuda() or target == _TARGETS["CPU"][0]]

    def __call__(self) -> None:
        """Begin the next step."""
        if self._steps > self._options.batch_range[1]:
            return
        if self._steps == 0:
            self._profiler.start()
        else:
            self._profiler.step()
        if self._steps == self._options.batch_range[1]:
            self._profiler.stop()
            self._profiler.summary(
                sorted_by=self._order(), op_detail=self._options.tracer_option != "Default", thread_sep=False
            )
            self.is_finished = self._options.exit_on_finished
        self._steps += 1

    def close(self) -> None:
        """Tell that nothing was recorded where the training was shorter than the range."""
        first, last = self._options.batch_range
        if self._steps <= last:
            logger.warning(
                "profiler_options: batch_range is [%d, %d], but training ended after %d steps; nothing was "
                "recorded.",
                first,
                last,
                self._steps,
            )

    def _order(self) -> profiler.SortedKeys:
        device = "GPU" if self._options.state == "GPU" else "CPU"
        return profiler.SortedKeys[f"{device}{_ORDERS[self._options.sorted_key]}"]
