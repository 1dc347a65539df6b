"""Distillation: several networks on the same pictures, and the losses between their answers.

A frozen network runs in evaluation mode and without gradients, so its weights and statistics are the same
bits afterwards, and it costs a step no more than its forward pass. PaddleClas leaves it in training mode,
where its BatchNorm follows the batches; `teacher_train_mode` does the same.

Losses equal PaddleClas' numbers but for three defects: the weight of a loss that stands alone counts, and so
do all its parts where it reads several networks; `DistillationCELoss` with `epsilon` takes the teacher's
softmax.

House: imports paddle, nets, the recipe's specs and the loss brick; builds no network.
Source: PaddleClas `ppcls/arch/__init__.py`, `ppcls/loss/{distillationloss,dmlloss,kldivloss,dkdloss,wslloss,
skdloss,dist_loss,distanceloss}.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Callable, Optional

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812 - the name that the field knows

from ppghost.config import distillation as specs
from ppghost.data import Batch
from ppghost.errors import ConfigError, suggest
from ppghost.nets.native import fast_evaluation
from ppghost.train.losses import against, is_soft, log_shares, smoothed_cross_entropy

# (student, teacher, labels) -> scalar; logits are [N, C].
PairCriterion = Callable[[Tensor, Tensor, Tensor], Tensor]

LOGITS = "logits"
_LARGE = 1000.0
"""Taken from a logit that shall have no share: exp(-1000) is 0 in float32."""


class Members(nn.Layer):
    """Networks that see the same pictures, under the names of `Arch.models`.

    Args:
        networks: name -> pictures `float32 [N, 3, H, W]` -> logits `float32 [N, C]`.
        frozen: names of those that are not trained.
        teacher_train_mode: leave the frozen ones in training mode.
        features: names of sublayers whose outputs are returned too, under "network/sublayer".

    Raises:
        ConfigError: a network has no such sublayer, or a name that layers need themselves.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Layer],
        frozen: Collection[str],
        *,
        teacher_train_mode: bool = False,
        features: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__()
        self._frozen = tuple(frozen)
        self._follows_mode = teacher_train_mode
        self._seen: dict[str, Tensor] = {}
        for name, network in networks.items():
            if hasattr(self, name):
                raise ConfigError(
                    f"Arch.models: '{name}' cannot be the name of a network, because Paddle's layers have "
                    "something of that name. Choose another, such as Student."
                )
            self.add_sublayer(name, network)
            if name in self._frozen:
                for parameter in network.parameters():
                    parameter.stop_gradient = True
                    parameter.trainable = False
        for name, layer in features:
            self._watch(name, layer)
        self.train()

    def train(self) -> None:
        """Switch to training mode, but for the frozen networks."""
        super().train()
        if not self._follows_mode:
            for name in self._frozen:
                self._sub_layers[name].eval()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the logits of each network by its name, and the features that are watched."""
        outputs = {}
        for name, network in self._sub_layers.items():
            with self._without_gradients(name):
                outputs[name] = network(images)
        features, self._seen = self._seen, {}
        return {**outputs, **features}

    @contextmanager
    def _without_gradients(self, name: str) -> Iterator[None]:
        if name not in self._frozen:
            yield
            return
        with paddle.no_grad(), fast_evaluation():
            yield

    def _watch(self, name: str, layer: str) -> None:
        layers = dict(self._sub_layers[name].named_sublayers())
        if layer not in layers:
            raise ConfigError(
                f"Loss.Train: key is '{layer}', but {name} has no such sublayer. {suggest(layer, layers)} "
                "Or 'logits', what it returns."
            )

        def keep(_layer: nn.Layer, _inputs: Any, output: Tensor) -> None:
            self._seen[feature_key(name, layer)] = output

        layers[layer].register_forward_post_hook(keep)


def feature_key(name: str, layer: Optional[str]) -> str:
    """Return under which key `Members` returns what a sublayer of a network computed; None is its logits."""
    return name if layer in (None, LOGITS) else f"{name}/{layer}"


class Distill:
    """Train the networks of a `DistillationModel`; one of them is evaluated and shipped.

    Args:
        members: the networks.
        shipped: name of the one that is shipped.
        loss: outputs by name and labels -> named losses.
        forward: what runs instead of `members` in a step, as in `ppghost.train.task.Classify`.
        stored: view and numbers of pictures -> logits by name of the teachers that are not run.
    """

    def __init__(
        self,
        members: Members,
        shipped: str,
        loss: DistillationLoss,
        forward: Optional[nn.Layer] = None,
        stored: Callable[[int, np.ndarray], Mapping[str, Tensor]] = lambda _view, _indices: {},
    ) -> None:
        self.members = members
        self.shipped = shipped
        self.loss = loss
        self.forward = members if forward is None else forward
        self.stored = stored

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Run all networks on the pictures, look up what is stored, and run the losses on the answers."""
        outputs = {**self.forward(batch.images), **self.stored(batch.view, batch.indices)}
        return {LOGITS: outputs[self.shipped], **self.loss(outputs, batch.labels)}

    def eval_net(self) -> nn.Layer:
        """Return the network that is shipped."""
        return self.members._sub_layers[self.shipped]

    def trainable(self) -> nn.Layer:
        """Return all networks."""
        return self.members


class DistillationLoss:
    """The weighted sum of losses that read the outputs of several networks, and each of them by name.

    Args:
        terms: (name in the log, weight, function of outputs and labels) of each.
    """

    def __init__(
        self, terms: Sequence[tuple[str, float, Callable[[Mapping[str, Tensor], Tensor], Tensor]]]
    ) -> None:
        self.terms = tuple(terms)

    def __call__(self, outputs: Mapping[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Return each loss times its weight, then "loss", their sum; all scalars.

        Args:
            outputs: what `Members` returns.
            labels: class indexes `int [N]` or `[N, 1]`, or soft labels `float [N, C]`.
        """
        losses = {name: weight * term(outputs, labels) for name, weight, term in self.terms}
        return {**losses, "loss": paddle.add_n(list(losses.values()))}


def build_distillation_loss(listed: Sequence[Any]) -> DistillationLoss:
    """Return the sum of the losses that `Loss.Train` lists for a `DistillationModel`.

    Raises:
        ConfigError: one is no loss of several networks, or two have one name in the log.
    """
    terms = [term for spec in listed for term in _terms(spec)]
    names = [name for name, _, _ in terms]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Loss.Train: '{name}' stands there twice; keep one and adapt its weight.")
    return DistillationLoss(terms)


def check_labels(listed: Sequence[Any], batch_ops: Sequence[Any]) -> None:
    """Check that losses which need one right class for each picture get it.

    Args:
        listed: what `Loss.Train` lists.
        batch_ops: what `batch_transform_ops` lists.

    Raises:
        ConfigError: the labels of a batch are mixed.
    """
    for spec in listed:
        if batch_ops and isinstance(spec, specs.PairLoss) and spec.needs_one_class:
            raise ConfigError(
                f"Loss.Train: {type(spec).__name__} needs one right class for each picture, but "
                f"batch_transform_ops ({type(batch_ops[0]).__name__}) mixes the labels. Remove them, set "
                "use_target_as_gt: True where the loss has it, or take DistillationKLDivLoss or "
                "DistillationDMLLoss."
            )


def watched_features(listed: Sequence[Any]) -> list[tuple[str, str]]:
    """Return (network, sublayer) of every feature that the losses of a configuration compare."""
    keyed = [spec for spec in listed if getattr(spec, "key", None) not in (None, LOGITS)]
    return list(dict.fromkeys((name, spec.key) for spec in keyed for name in spec.model_names))


def _terms(spec: Any) -> Iterator[tuple[str, float, Callable[[Mapping[str, Tensor], Tensor], Tensor]]]:
    """Yield a term for each network or pair of networks of a loss, named as PaddleClas names it."""
    if isinstance(spec, specs.DistillationGTCELoss):
        for name in spec.model_names:
            yield (
                f"CELoss_{name}",
                spec.weight,
                functools.partial(_label_loss, name=name, epsilon=spec.epsilon),
            )
    elif isinstance(spec, specs.PairLoss):
        criterion = _criterion(spec)
        for index, (student, teacher) in enumerate(spec.model_name_pairs):
            keys = feature_key(student, spec.key), feature_key(teacher, spec.key)
            name = _logged_name(spec, index, student, teacher)
            yield name, spec.weight, functools.partial(_pair_loss, keys=keys, criterion=criterion)
    else:
        raise ConfigError(
            f"Loss.Train: {type(spec).__name__} reads one network, but Arch is a DistillationModel. For "
            'cross entropy with labels write DistillationGTCELoss: {weight: 1.0, model_names: ["Student"]}.'
        )


def _logged_name(spec: specs.PairLoss, index: int, student: str, teacher: str) -> str:
    if isinstance(spec, specs.DistillationDMLLoss):
        return f"DMLLoss_{student}_{teacher}_{index}"
    if isinstance(spec, specs.DistillationCELoss):
        return f"CELoss_{student}_{teacher}"
    if isinstance(spec, specs.DistillationKLDivLoss):
        return f"loss_kldiv_{student}_{teacher}"
    if isinstance(spec, specs.DistillationDistanceLoss):
        return f"{spec.name}{spec.mode}_loss_{spec.mode}_{index}"
    return f"{spec.name}_{student}_{teacher}"


def _label_loss(
    outputs: Mapping[str, Tensor], labels: Tensor, *, name: str, epsilon: Optional[float]
) -> Tensor:
    return smoothed_cross_entropy(outputs[name], labels, epsilon or 0.0)


def _pair_loss(
    outputs: Mapping[str, Tensor], labels: Tensor, *, keys: tuple[str, str], criterion: PairCriterion
) -> Tensor:
    student, teacher = (outputs[key] for key in keys)
    if list(student.shape) != list(teacher.shape):
        raise ConfigError(
            f"Loss.Train: '{keys[0]}' is {list(student.shape)} and '{keys[1]}' is {list(teacher.shape)}; "
            "only equal shapes can be compared."
        )
    return criterion(student, teacher, labels)


# ------------------------------------------------------------------------------------------- criteria


@functools.singledispatch
def _criterion(spec: Any) -> PairCriterion:
    """Return the function of a loss between two networks."""
    raise TypeError(f"no loss is written for {type(spec).__name__}")


@_criterion.register(specs.DistillationDMLLoss)
def _(spec: specs.DistillationDMLLoss) -> PairCriterion:
    return lambda student, teacher, _labels: symmetric_divergence(
        student, teacher, act=spec.act, sums_classes=spec.sum_across_class_dim
    )


@_criterion.register(specs.DistillationCELoss)
def _(spec: specs.DistillationCELoss) -> PairCriterion:
    return lambda student, teacher, _labels: smoothed_cross_entropy(
        student, F.softmax(teacher, axis=-1), spec.epsilon or 0.0
    )


@_criterion.register(specs.DistillationKLDivLoss)
def _(spec: specs.DistillationKLDivLoss) -> PairCriterion:
    return lambda student, teacher, _labels: (
        _divergence(student / spec.temperature, teacher / spec.temperature) * (spec.temperature**2)
    )


@_criterion.register(specs.DistillationDKDLoss)
def _(spec: specs.DistillationDKDLoss) -> PairCriterion:
    return functools.partial(_decoupled, spec=spec)


@_criterion.register(specs.DistillationWSLLoss)
def _(spec: specs.DistillationWSLLoss) -> PairCriterion:
    return functools.partial(_weighted_soft_labels, temperature=spec.temperature)


@_criterion.register(specs.DistillationSKDLoss)
def _(spec: specs.DistillationSKDLoss) -> PairCriterion:
    return functools.partial(_spherical, spec=spec)


@_criterion.register(specs.DistillationDISTLoss)
def _(spec: specs.DistillationDISTLoss) -> PairCriterion:
    return functools.partial(_correlated, spec=spec)


@_criterion.register(specs.DistillationDistanceLoss)
def _(spec: specs.DistillationDistanceLoss) -> PairCriterion:
    distance = {"l1": F.l1_loss, "l2": F.mse_loss, "smooth_l1": F.smooth_l1_loss}[spec.mode]
    acts = {None: lambda x: x, "softmax": functools.partial(F.softmax, axis=-1), "sigmoid": F.sigmoid}
    act = acts[spec.act]
    return lambda student, teacher, _labels: distance(act(student), act(teacher))


def symmetric_divergence(student: Tensor, teacher: Tensor, *, act: str, sums_classes: bool) -> Tensor:
    """Return half the sum of the divergences in both directions, averaged over the batch.

    Args:
        student: logits, float `[N, C]`.
        teacher: the same.
        act: "softmax", or "sigmoid" for each class by itself.
        sums_classes: multiply by the number of classes, as PaddleClas does.
    """
    if act == "softmax":
        logs = log_shares(student), log_shares(teacher)
        difference = F.softmax(student, axis=-1) - F.softmax(teacher, axis=-1)
    else:
        logs = F.log_sigmoid(student), F.log_sigmoid(teacher)
        difference = F.sigmoid(student) - F.sigmoid(teacher)
    # KL(s||t) + KL(t||s) is the sum of (s - t) (log s - log t): no class with a share of 0 needs an epsilon.
    divergence = (difference * (logs[0] - logs[1])).sum(axis=-1).mean() / 2
    return divergence * student.shape[-1] if sums_classes else divergence


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return KL(teacher || student) of logits, averaged over the batch."""
    return F.kl_div(log_shares(student), F.softmax(teacher, axis=-1), reduction="batchmean")


def _right_classes(teacher: Tensor, labels: Tensor, use_teacher: bool = False) -> Tensor:
    """Return one-hot rows `[N, C]` of the labels, or of the teacher's best classes."""
    assert use_teacher or not is_soft(teacher, labels), "check_labels refuses mixed labels"
    chosen = teacher.argmax(axis=-1) if use_teacher else labels.flatten()
    return F.one_hot(chosen, teacher.shape[-1])


def _decoupled(
    student: Tensor, teacher: Tensor, labels: Tensor, *, spec: specs.DistillationDKDLoss
) -> Tensor:
    right = _right_classes(teacher, labels, spec.use_target_as_gt)
    student, teacher = student / spec.temperature, teacher / spec.temperature
    binary = []
    for logits in (student, teacher):
        # log of the share of the right class, and of all others together
        logs = log_shares(logits)
        others = paddle.logsumexp(logs - _LARGE * right, axis=-1)
        binary.append(paddle.stack([(logs * right).sum(axis=-1), others], axis=-1))
    on_right = F.kl_div(binary[0], binary[1].exp(), reduction="batchmean")
    among_others = _divergence(student - _LARGE * right, teacher - _LARGE * right)
    return (spec.alpha * on_right + spec.beta * among_others) * (spec.temperature**2)


def _weighted_soft_labels(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    right = _right_classes(teacher, labels)
    ratio = against(student.detach(), right) / (against(teacher.detach(), right) + 1e-7)
    soft = against(student / temperature, F.softmax(teacher / temperature, axis=-1))
    return (soft * (1 - paddle.exp(-ratio))).mean() * (temperature**2)


def _spherical(
    student: Tensor, teacher: Tensor, labels: Tensor, *, spec: specs.DistillationSKDLoss
) -> Tensor:
    right = _right_classes(teacher, labels, spec.use_target_as_gt)
    normed = [F.layer_norm(x, x.shape[1:], epsilon=1e-7) * spec.multiplier for x in (student, teacher)]
    soft = against(normed[0] / spec.temperature, F.softmax(normed[1] / spec.temperature, axis=-1)).mean()
    return soft * (spec.temperature**2) * spec.alpha + against(normed[0], right).mean() * (1 - spec.alpha)


def _correlated(
    student: Tensor, teacher: Tensor, _labels: Tensor, *, spec: specs.DistillationDISTLoss
) -> Tensor:
    student, teacher = F.softmax(student, axis=-1), F.softmax(teacher, axis=-1)
    between = 1 - _correlation(student, teacher).mean()
    within = 1 - _correlation(student.t(), teacher.t()).mean()
    return spec.beta * between + spec.gamma * within


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return Pearson's correlation of each row."""
    a, b = a - a.mean(axis=1, keepdim=True), b - b.mean(axis=1, keepdim=True)
    return (a * b).sum(axis=1) / (a.norm(axis=1) * b.norm(axis=1) + 1e-8)
