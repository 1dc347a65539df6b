"""Curves of trainings, drawn from what their logs tell: loss, learning rate and top-1.

Door: imports the reader of logs and the reports' brick; matplotlib only to draw.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppghost.bench.report import check_plotting, write_figure
from ppghost.errors import DataError
from ppghost.train.history import EMA, EVAL, STEP, TRAIN, History

# As many colours as matplotlib's largest palette of different ones has.
MOST_RUNS = 20

_STYLES: dict[str, tuple[str, dict[str, Any]]] = {
    STEP: ("training, mean since the epoch began", {"linewidth": 1.0, "alpha": 0.45}),
    TRAIN: ("training, mean of the epoch", {"marker": ".", "markersize": 5}),
    EVAL: ("evaluation", {"linestyle": "--", "marker": "o", "markersize": 4}),
    EMA: ("evaluation of averaged weights (EMA)", {"linestyle": ":", "marker": "^", "markersize": 4}),
}


@dataclass(frozen=True)
class _Panel:
    """What one panel shows.

    Attributes:
        title: stands at its axis, with the unit.
        values: which values of a log belong here.
        kinds: which kinds of points have them.
        factor: from the log's unit to the axis's.
    """

    title: str
    values: re.Pattern[str]
    kinds: tuple[str, ...] = (STEP, TRAIN, EVAL, EMA)
    factor: float = 1.0

    def names_in(self, history: History) -> list[str]:
        """Return the names of the values of a log that belong here."""
        return [name for name in history.names() if self.values.fullmatch(name)]


_PANELS = (
    _Panel("loss (no unit)", re.compile("loss")),
    _Panel("learning rate (no unit)", re.compile(r"lr(\(\w+\))?( \d+)?"), (STEP,)),
    _Panel("top-1 (%)", re.compile("(.+_)?top1"), factor=100.0),
)


def draw_curves(histories: Mapping[str, History], path: Path) -> None:
    """Draw loss, learning rate and top-1 over the epochs as PNG, one colour for each run.

    A panel for which no log has figures is left out.

    Args:
        histories: name of the run -> what its log tells.
        path: the PNG file.

    Raises:
        DataError: there are more than 20 runs, or none has any of the three.
        ToolMissingError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    check_plotting("drawing curves")
    from matplotlib.figure import Figure

    if len(histories) > MOST_RUNS:
        raise DataError(f"{len(histories)} runs are too many for one picture; accepted: {MOST_RUNS}.")
    shown = [one for one in _PANELS if any(one.names_in(history) for history in histories.values())]
    if not shown:
        raise DataError(f"None of the logs tells loss, learning rate or top-1: {', '.join(histories)}.")
    figure = Figure(figsize=(11, 3.2 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for panel, what in zip(panels, shown):
        for number, history in enumerate(histories.values()):
            _draw(panel, history, what, _colour(number, len(histories)))
        panel.set_ylabel(what.title)
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("epochs of training")
    _add_legend(panels[0], histories)
    write_figure(figure, path)


def _draw(panel: Any, history: History, what: _Panel, colour: str) -> None:
    for name in what.names_in(history):
        for kind in what.kinds:
            epochs, values = history.curve(kind, name)
            style = {} if what.kinds == (STEP,) else _STYLES[kind][1]
            if epochs:
                panel.plot(epochs, [what.factor * value for value in values], color=colour, **style)


def _colour(number: int, count: int) -> Any:
    from matplotlib import colormaps

    return f"C{number}" if count <= 10 else colormaps["tab20"](number)


def _add_legend(panel: Any, histories: Mapping[str, History]) -> None:
    """Name colours and line styles to the right of the curves."""
    from matplotlib.lines import Line2D

    kinds = {point.kind for history in histories.values() for point in history.points}
    handles = [
        Line2D([], [], color=_colour(number, len(histories)), linewidth=4, label=name)
        for number, name in enumerate(histories)
    ]
    handles += [
        Line2D([], [], color="black", label=title, **style)
        for kind, (title, style) in _STYLES.items()
        if kind in kinds
    ]
    # parse_math off: a folder's name may hold dollar signs.
    legend = panel.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize="small")
    for text in legend.get_texts():
        text.set_parse_math(False)
