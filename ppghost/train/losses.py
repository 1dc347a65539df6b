"""Losses of single-label classification, equal to PaddleClas' numbers.

Two of its defects are not inherited: soft labels do not pass through a softmax a second time, and the
`weight` of a loss that stands alone counts. Names and order in the log are PaddleClas'.

House: imports paddle, the recipe's specs and the rock.
Source: PaddleClas `ppcls/loss/{__init__,celoss,softtargetceloss}.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Callable

import paddle
from paddle import Tensor
from paddle.nn import functional as F  # noqa: N812 - the name that the field knows

from ppghost.config import recipe
from ppghost.errors import ConfigError

# logits [N, C], labels [N], [N, 1] or [N, C] -> scalar
Criterion = Callable[[Tensor, Tensor], Tensor]


class Loss:
    """The weighted sum of some losses, and each of them by name.

    Args:
        terms: (name in the log, weight, criterion) of each.
    """

    def __init__(self, terms: Sequence[tuple[str, float, Criterion]]) -> None:
        self.terms = tuple(terms)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what a call returns, in its order."""
        return (*(name for name, _, _ in self.terms), "loss")

    def __call__(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return each loss times its weight, then "loss", their sum; all scalars.

        Args:
            logits: float `[N, C]`.
            labels: class indexes `int [N]` or `[N, 1]`, or soft labels `float [N, C]`.

        Raises:
            ValueError: the labels are neither.
        """
        losses = {name: weight * criterion(logits, labels) for name, weight, criterion in self.terms}
        values = list(losses.values())
        return {**losses, "loss": values[0] if len(values) == 1 else paddle.add_n(values)}


def build_loss(specs: Sequence[Any]) -> Loss:
    """Return the sum of the losses that a configuration lists.

    Raises:
        ConfigError: none is listed, or one is listed twice.
    """
    if not specs:
        raise ConfigError("Loss: the list is empty; write at least one loss, - CELoss: {weight: 1.0}.")
    terms = [(*_criterion(spec), spec.weight) for spec in specs]
    names = [name for name, _, _ in terms]
    for spec, name in zip(specs, names):
        if names.count(name) > 1:
            raise ConfigError(f"Loss: {type(spec).__name__} is listed twice; keep one and adapt its weight.")
    return Loss([(name, weight, criterion) for name, criterion, weight in terms])


@functools.singledispatch
def _criterion(spec: Any) -> tuple[str, Criterion]:
    """Return the name in the log and the function of a loss."""
    raise ConfigError(
        f"Loss: {type(spec).__name__} reads several networks, but here there is one. It goes into "
        "Loss.Train, with Arch: {name: DistillationModel}; elsewhere write CELoss."
    )


@_criterion.register(recipe.CELoss)
def _(spec: recipe.CELoss) -> tuple[str, Criterion]:
    if spec.epsilon:
        return "CELoss", functools.partial(
            smoothed_cross_entropy, epsilon=spec.epsilon, reduction=spec.reduction
        )
    return "CELoss", functools.partial(_cross_entropy, reduction=spec.reduction)


@_criterion.register(recipe.SoftTargetCrossEntropy)
def _(spec: recipe.SoftTargetCrossEntropy) -> tuple[str, Criterion]:
    return "SoftTargetCELoss", _soft_target


def is_soft(logits: Tensor, labels: Tensor) -> bool:
    """Say whether labels are a distribution over the classes (True) or class indexes (False).

    Raises:
        ValueError: the shapes do not fit.
    """
    count, classes = logits.shape
    shape = list(labels.shape)
    if labels.dtype in (paddle.int32, paddle.int64):
        if shape in ([count], [count, 1]):
            return False
    elif shape == [count, classes]:
        return True
    raise ValueError(
        f"labels are {labels.dtype} {shape}; for logits {[count, classes]} they are class indexes [{count}] "
        f"or [{count}, 1], or soft labels [{count}, {classes}] of a float type"
    )


def _cross_entropy(logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
    return F.cross_entropy(logits, labels, soft_label=is_soft(logits, labels), reduction=reduction)


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, epsilon: float, reduction: str = "mean") -> Tensor:
    """Return the cross entropy of logits and smoothed labels, a scalar.

    Args:
        logits: float `[N, C]`.
        labels: class indexes `int [N]` or `[N, 1]`, or soft labels `float [N, C]`.
        epsilon: share of the labels that is spread over all classes, 0 to 1.
        reduction: "mean" or "sum" over the batch.
    """
    if not is_soft(logits, labels):
        labels = F.one_hot(labels.flatten(), logits.shape[-1])
    losses = against(logits, F.label_smooth(labels, epsilon=epsilon))
    return losses.mean() if reduction == "mean" else losses.sum()


def _soft_target(logits: Tensor, labels: Tensor) -> Tensor:
    if not is_soft(logits, labels):
        raise ConfigError(
            "Loss: SoftTargetCrossEntropy takes soft labels, as batch_transform_ops make them; "
            "these are class indexes. Use CELoss."
        )
    return against(logits, labels).mean()


def against(logits: Tensor, soft_labels: Tensor) -> Tensor:
    """Return the cross entropy of each sample, `[N]`."""
    return (-log_shares(logits) * soft_labels).sum(axis=-1)


def log_shares(logits: Tensor) -> Tensor:
    """Return the logarithm of the softmax, `[N, C]`; on the CPU Paddle's own never falls below -64."""
    shifted = logits - logits.detach().max(axis=-1, keepdim=True)
    return shifted - shifted.exp().sum(axis=-1, keepdim=True).log()
