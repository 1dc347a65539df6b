"""Batch ops: they mix the pictures of one training batch and the labels with them.

A batch op is a frozen dataclass like an image op, called as `op(images, labels, rng, class_num)` with
`float32 [N, 3, H, W]` and `int64 [N]` or soft labels `float32 [N, C]`; it returns new arrays and soft labels.
Numbers are drawn in PaddleClas' order from the same streams. Ground: NumPy; never paddle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Optional, Protocol

import numpy as np

from ppghost.registry import Registry
from ppghost.vision.checks import check_choice, check_interval, check_range
from ppghost.vision.fmix import draw_mask
from ppghost.vision.op import Rng, build

Batch = tuple[np.ndarray, np.ndarray]


class BatchOp(Protocol):
    """A batch op: called with a batch, returns a mixed one."""

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: Rng, class_num: int) -> Batch:
        """Return mixed images and soft labels; the arguments stay as they are."""
        ...


BATCH_OPS: Registry[type] = Registry("batch transform op")


def soften(labels: np.ndarray, class_num: int, on: float = 1.0, off: float = 0.0) -> np.ndarray:
    """Return soft labels `float32 [N, class_num]`: `on` at the class, `off` elsewhere; soft ones unchanged.

    Raises:
        ValueError: a label is not below `class_num`.
    """
    if labels.ndim == 2:
        return labels
    if labels.size and not 0 <= labels.min() <= labels.max() < class_num:
        raise ValueError(
            f"A label is {labels.max()} but there are {class_num} classes (0 to {class_num - 1})."
        )
    soft = np.full((len(labels), class_num), off, np.float32)
    soft[np.arange(len(labels)), labels] = on
    return soft


def mix_labels(labels: np.ndarray, order: np.ndarray, share: float, class_num: int) -> np.ndarray:
    """Return `share` of every label plus the rest of the label at `order`, `float32 [N, class_num]`."""
    soft = soften(labels, class_num)
    return soft * share + soft[order] * (1 - share)


def check_alpha(where: str, alpha: float) -> None:
    """Raise ValueError unless `alpha` can be the parameter of a beta distribution."""
    check_range(where, alpha, 1e-9)


@BATCH_OPS.add("MixupOperator")
@dataclass(frozen=True)
class MixupOperator:
    """Blend every picture with another one of the batch, all by the same share.

    Attributes:
        alpha: both parameters of the beta distribution of the share.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization".
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_alpha("MixupOperator.alpha", self.alpha)

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: Rng, class_num: int) -> Batch:
        """Return the blended batch; draws from `rng.np`."""
        order = rng.np.permutation(len(images))
        share = rng.np.beta(self.alpha, self.alpha)
        mixed = images[order]
        mixed *= 1 - share
        mixed += share * images
        return mixed, mix_labels(labels, order, share, class_num)


@BATCH_OPS.add("CutmixOperator")
@dataclass(frozen=True)
class CutmixOperator:
    """Paste one box of another picture of the batch into every picture, the same box for all.

    Attributes:
        alpha: both parameters of the beta distribution of the area that stays.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers".
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        check_alpha("CutmixOperator.alpha", self.alpha)

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: Rng, class_num: int) -> Batch:
        """Return the pasted batch; draws from `rng.np`."""
        order = rng.np.permutation(len(images))
        share = rng.np.beta(self.alpha, self.alpha)
        height, width = images.shape[2:]
        cut = np.sqrt(1.0 - share)
        box = draw_box(height, width, int(height * cut), int(width * cut), rng)
        mixed = images.copy()
        mixed[:, :, box[0], box[1]] = images[order, :, box[0], box[1]]
        return mixed, mix_labels(labels, order, 1 - area_share(box, height, width), class_num)


Box = tuple[slice, slice]


def draw_box(height: int, width: int, box_height: int, box_width: int, rng: Rng) -> Box:
    """Return rows and columns of a box around a random centre, cut at the edges; draws from `rng.np`."""
    row, column = rng.np.randint(height), rng.np.randint(width)
    top, left = max(row - box_height // 2, 0), max(column - box_width // 2, 0)
    bottom, right = min(row + box_height // 2, height), min(column + box_width // 2, width)
    return slice(top, bottom), slice(left, right)


def area_share(box: Box, height: int, width: int) -> float:
    """Return the share of a picture that the box covers."""
    rows, columns = box
    return float(rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)


@BATCH_OPS.add("FmixOperator")
@dataclass(frozen=True)
class FmixOperator:
    """Mix every picture with another one of the batch through one random mask of low frequencies.

    PaddleClas returns float64 pictures, which its networks refuse; here they are float32.

    Attributes:
        alpha: both parameters of the beta distribution of the share.
        decay_power: how fast the frequencies of the mask decay.
        max_soft: width of the soft edge of the mask as a share of the picture, 0 to 0.5.
        reformulate: draw the share from beta(alpha + 1, alpha).

    Source: Harris et al., "FMix: Enhancing Mixed Sample Data Augmentation".
    """

    alpha: float = 1
    decay_power: float = 3
    max_soft: float = 0.0
    reformulate: bool = False

    def __post_init__(self) -> None:
        check_alpha("FmixOperator.alpha", self.alpha)
        check_range("FmixOperator.decay_power", self.decay_power, 0)
        check_range("FmixOperator.max_soft", self.max_soft, 0, 0.5)

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: Rng, class_num: int) -> Batch:
        """Return the mixed batch; draws from `rng.np`, one number from `rng.py`."""
        order = rng.np.permutation(len(images))
        share = rng.np.beta(self.alpha + 1 if self.reformulate else self.alpha, self.alpha)
        height, width = images.shape[2:]
        mask = draw_mask(height, width, share, self.decay_power, self.max_soft, rng)
        mixed = (mask * images + (1 - mask) * images[order]).astype(np.float32)
        return mixed, mix_labels(labels, order, share, class_num)


@BATCH_OPS.add("MixupCutmixHybrid")
@dataclass(frozen=True)
class MixupCutmixHybrid:
    """Mix every picture with its mirror partner in the batch, the first with the last, by mixup or cutmix.

    The modes "elem" and "pair" fail in PaddleClas on today's NumPy; here they work, and a batch may be odd.

    Attributes:
        mixup_alpha: parameter of mixup's beta distribution; 0 turns mixup off.
        cutmix_alpha: parameter of cutmix's; 0 turns cutmix off.
        cutmix_minmax: lowest and highest side of cutmix' box as a share of the picture's; turns cutmix on.
        prob: how often a batch ("batch"), a pair or a picture ("elem") is mixed.
        switch_prob: how often cutmix is taken where both are on.
        mode: "batch", "pair" or "elem": what has a share of its own.
        correct_lam: count the area of the box as it is after it was cut at the edges.
        label_smoothing: share of the label that is spread over all classes.
        num_classes: as in the network; None takes the network's. PaddleClas' default is 4.

    Source: timm `data/mixup.py`.
    """

    mixup_alpha: float = 1.0
    cutmix_alpha: float = 0.0
    cutmix_minmax: Optional[tuple[float, float]] = None
    prob: float = 1.0
    switch_prob: float = 0.5
    mode: str = "batch"
    correct_lam: bool = True
    label_smoothing: float = 0.1
    num_classes: Optional[int] = None

    def __post_init__(self) -> None:
        check_choice("MixupCutmixHybrid.mode", self.mode, ("batch", "pair", "elem"))
        for name in ("prob", "switch_prob", "label_smoothing"):
            check_range(f"MixupCutmixHybrid.{name}", getattr(self, name), 0, 1)
        for name in ("mixup_alpha", "cutmix_alpha"):
            check_range(f"MixupCutmixHybrid.{name}", getattr(self, name), 0)
        if self.cutmix_minmax is not None:
            check_interval("MixupCutmixHybrid.cutmix_minmax", self.cutmix_minmax, 0, 1)
            if self.cutmix_minmax[0] == self.cutmix_minmax[1]:
                raise ValueError(
                    f"MixupCutmixHybrid.cutmix_minmax is {list(self.cutmix_minmax)}; the high end is not "
                    "included, so it must be greater than the low one."
                )
        if not self.mixup_alpha and not self._cutmix_alpha:
            raise ValueError("MixupCutmixHybrid needs mixup_alpha or cutmix_alpha above 0, or cutmix_minmax.")

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: Rng, class_num: int) -> Batch:
        """Return the mixed batch with smoothed labels; draws from `rng.np`."""
        if self.num_classes not in (None, class_num):
            raise ValueError(
                f"MixupCutmixHybrid.num_classes is {self.num_classes} but the network has {class_num} "
                "classes: leave num_classes out."
            )
        mixed = images.copy()
        if self.mode == "batch":
            shares = np.full(len(images), self._mix_batch(images, mixed, rng), np.float32)
        else:
            shares = self._mix_each(images, mixed, rng)
        off = self.label_smoothing / class_num
        soft = soften(labels, class_num, on=1.0 - self.label_smoothing + off, off=off)
        return mixed, soft * shares[:, None] + soft[::-1] * (1.0 - shares[:, None])

    @property
    def _cutmix_alpha(self) -> float:
        return 1.0 if self.cutmix_minmax is not None else self.cutmix_alpha

    def _mix_batch(self, images: np.ndarray, mixed: np.ndarray, rng: Rng) -> float:
        """Mix all pictures alike into `mixed` and return what stays of each."""
        if rng.np.rand() >= self.prob:
            return 1.0
        use_cutmix = self._cutmix_alpha > 0 and (self.mixup_alpha == 0 or rng.np.rand() < self.switch_prob)
        alpha = self._cutmix_alpha if use_cutmix else self.mixup_alpha
        share = rng.np.beta(alpha, alpha)
        if share == 1.0:
            return 1.0
        if not use_cutmix:
            mixed[:] = images * np.float32(share) + images[::-1] * np.float32(1.0 - share)
            return share
        box, share = self._draw_box(images, share, rng)
        mixed[:, :, box[0], box[1]] = images[::-1, :, box[0], box[1]]
        return share

    def _mix_each(self, images: np.ndarray, mixed: np.ndarray, rng: Rng) -> np.ndarray:
        """Mix each picture, or each pair alike, into `mixed`; return what stays of each, float32 [N]."""
        count = len(images)
        drawn = count // 2 if self.mode == "pair" else count
        shares, use_cutmix = self._draw_shares(drawn, rng)
        for index in range(drawn):
            share, partner = float(shares[index]), count - index - 1
            if share == 1.0:
                continue
            members = ((index, partner), (partner, index)) if self.mode == "pair" else ((index, partner),)
            if use_cutmix[index]:
                box, share = self._draw_box(images, share, rng)
                shares[index] = share
            for target, source in members:
                if use_cutmix[index]:
                    mixed[target][:, box[0], box[1]] = images[source][:, box[0], box[1]]
                else:
                    mixed[target] = images[target] * np.float32(share) + images[source] * np.float32(
                        1 - share
                    )
        if self.mode == "pair":
            return np.concatenate((shares, np.ones(count % 2, np.float32), shares[::-1]))
        return shares

    def _draw_shares(self, count: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
        """Return what stays of each picture, float32 [count], and which ones cutmix treats, bool [count]."""
        use_cutmix = np.full(count, self.mixup_alpha == 0)
        cutmix, mixup = self._cutmix_alpha, self.mixup_alpha
        if cutmix > 0 and mixup > 0:
            use_cutmix = rng.np.rand(count) < self.switch_prob
            by_cutmix = rng.np.beta(cutmix, cutmix, size=count)
            drawn = np.where(use_cutmix, by_cutmix, rng.np.beta(mixup, mixup, size=count))
        else:
            alpha = mixup or cutmix
            drawn = rng.np.beta(alpha, alpha, size=count)
        is_mixed = rng.np.rand(count) < self.prob
        return np.where(is_mixed, drawn, 1.0).astype(np.float32), use_cutmix

    def _draw_box(self, images: np.ndarray, share: float, rng: Rng) -> tuple[Box, float]:
        """Return a box and what stays of a picture into which it is pasted."""
        height, width = images.shape[2:]
        if self.cutmix_minmax is None:
            cut = np.sqrt(1 - share)
            box = draw_box(height, width, int(height * cut), int(width * cut), rng)
            return box, 1.0 - area_share(box, height, width) if self.correct_lam else share
        low, high = self.cutmix_minmax
        rows = _draw_side(height, low, high, rng)
        columns = _draw_side(width, low, high, rng)
        top, left = rng.np.randint(0, height - rows), rng.np.randint(0, width - columns)
        box = (slice(top, top + rows), slice(left, left + columns))
        return box, 1.0 - area_share(box, height, width)


def _draw_side(side: int, low: float, high: float, rng: Rng) -> int:
    """Return a length from `low` to below `high` shares of `side` pixels; draws one number from `rng.np`."""
    first = int(side * low)
    # In a small picture both shares may be the same pixel.
    return int(rng.np.randint(first, max(int(side * high), first + 1)))


_SAMPLED = ("MixupOperator", "CutmixOperator", "FmixOperator", "MixupCutmixHybrid")


@BATCH_OPS.add("OpSampler")
@dataclass(frozen=True)
class OpSampler:
    """Apply one of several batch ops, drawn by their `prob`; the rest of the probability does nothing.

    A batch to which nothing is done keeps its labels as they are, as in PaddleClas. There an op without
    `prob` is never drawn, with a warning; here that is an error. PaddleClas draws by the order in the file,
    which attributes do not carry: here it is the order below, the one in which its recipes are written.

    Attributes:
        MixupOperator: the parameters of that op, and `prob`; likewise the other attributes.
    """

    MixupOperator: Optional[dict[str, Any]] = None
    CutmixOperator: Optional[dict[str, Any]] = None
    FmixOperator: Optional[dict[str, Any]] = None
    MixupCutmixHybrid: Optional[dict[str, Any]] = None

    def __post_init__(self) -> None:
        for name, params in self._given().items():
            if not isinstance(params, Mapping) or "prob" not in params:
                raise ValueError(f"OpSampler.{name} needs 'prob', the share of batches that it gets.")
            check_range(f"OpSampler.{name}.prob", params["prob"], 0, 1)
        if not self._given():
            raise ValueError(f"OpSampler holds no op; accepted: {', '.join(_SAMPLED)}.")
        total = sum(probability for _, probability in self._choices)
        if total > 1 + 1e-9:
            raise ValueError(f"The 'prob' of the ops in OpSampler add up to {total:g}; accepted: at most 1.")

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: Rng, class_num: int) -> Batch:
        """Return the batch as the drawn op leaves it; draws from `rng.py`, then what that op draws."""
        weights = [probability for _, probability in self._choices]
        ops: list[Optional[BatchOp]] = [op for op, _ in self._choices]
        [op] = rng.py.choices([*ops, None], weights=[*weights, max(0, 1 - sum(weights))])
        return (images, labels) if op is None else op(images, labels, rng, class_num)

    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _SAMPLED if getattr(self, name) is not None}

    @cached_property
    def _choices(self) -> list[tuple[BatchOp, float]]:
        """The ops with their probabilities."""
        choices = []
        for name, given in self._given().items():
            params = {key: value for key, value in given.items() if key != "prob"}
            choices.append((build(name, params, BATCH_OPS, {}), float(given["prob"])))
        return choices
