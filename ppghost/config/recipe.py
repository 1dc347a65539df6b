"""The recipe of a training run as plain data: losses, optimizers, learning rates, metrics, AMP and EMA.

Each class is named as in a PaddleClas YAML and its fields are the YAML keys with PaddleClas' defaults. The
bricks in `ppghost.train` turn them into running things. What is known but out of scope stands in a
`REFUSED_*` table with the sentence that says where it is served.

Ground: no paddle, nothing of ours but the rock and the schema vocabulary.
Source: PaddleClas `ppcls/{loss,optimizer,metric}`, `ppcls/engine/engine.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Optional, TypeVar

from ppghost.config.distillation import DISTILLATION_LOSSES
from ppghost.config.types import (
    Alone,
    Arithmetic,
    Choice,
    Fraction,
    Keyed,
    Named,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Range,
    Refused,
)

# A learning rate, a decay or a small constant. YAML 1.1 reads "1e-4" as text: it is parsed like arithmetic.
Rate = Annotated[float, Arithmetic(), Range(0)]

_PADDLECLAS = "train it with PaddleClas itself after `ppghost.register()`"


def _table(*specs: type) -> dict[str, type]:
    return {spec.__name__: spec for spec in specs}


def _refuse(names: str, why: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), why)


# ---------------------------------------------------------------------------------------------- losses


@dataclass(frozen=True)
class CELoss:
    """Cross entropy of logits and labels, with label smoothing.

    Attributes:
        weight: factor of this loss in the total.
        reduction: over the batch. "none" is refused: training needs one number.
        epsilon: share of the label that is spread over all classes; 0 and None mean no smoothing.
    """

    weight: float = 1.0
    reduction: Annotated[str, Choice(("mean", "sum", "none"))] = "mean"
    epsilon: Optional[Annotated[float, Arithmetic()]] = None

    def __post_init__(self) -> None:
        if self.epsilon is not None and not 0 <= self.epsilon < 1:
            raise ValueError(f"epsilon is {self.epsilon:g}; label smoothing takes 0 <= epsilon < 1")
        if self.reduction == "none":
            raise ValueError("reduction 'none' gives one loss per picture; training needs 'mean' or 'sum'")


@dataclass(frozen=True)
class SoftTargetCrossEntropy:
    """Cross entropy of logits and soft labels, averaged over the batch.

    Attributes:
        weight: factor of this loss in the total.
    """

    weight: float = 1.0


LOSSES: Mapping[str, type] = _table(CELoss, SoftTargetCrossEntropy, *DISTILLATION_LOSSES)

REFUSED_LOSSES: Mapping[str, str] = {
    "MixCELoss": "MixCELoss is gone from PaddleClas too; CELoss takes soft labels",
    "GoogLeNetLoss": "GoogLeNetLoss reads the three outputs of GoogLeNet; GhostNet has one, use CELoss",
    "DistillationMultiLabelLoss": f"several labels per picture are out of scope here; {_PADDLECLAS}",
    **_refuse(
        "DMLLoss DistanceLoss",
        "it compares two networks; DistillationDMLLoss and DistillationDistanceLoss say which two",
    ),
    **_refuse(
        "DistillationRKDLoss DistillationPairLoss AFDLoss",
        f"it compares inner features through layers that are trained beside the networks; {_PADDLECLAS}",
    ),
    **_refuse(
        "CenterLoss ContrastiveLoss ContrastiveLoss_XBM EmlLoss MSMLoss NpairsLoss TriHardLoss "
        "TripletLoss TripletLossV2 TripletAngularMarginLoss TripletAngularMarginLoss_XBM SupConLoss "
        "PairwiseCosface",
        f"it compares feature vectors (retrieval, re-identification, faces), not classes; {_PADDLECLAS}",
    ),
    **_refuse("DSHSDLoss LCDSHLoss DCHLoss", f"it learns hash codes for retrieval; {_PADDLECLAS}"),
    **_refuse(
        "MultiLabelLoss MultiLabelAsymmetricLoss",
        f"several labels per picture are out of scope here; {_PADDLECLAS}",
    ),
    **_refuse("SoftSupConLoss CCSSLCELoss", f"FixMatch training is out of scope here; {_PADDLECLAS}"),
    **_refuse(
        "CELossForMetaBIN TripletLossForMetaBIN InterDomainShuffleLoss IntraDomainScatterLoss",
        f"MetaBIN training is out of scope here; {_PADDLECLAS}",
    ),
}

# -------------------------------------------------------------------------------------- learning rates

PUBLISHED_TOTAL_BATCH = 2048
"""Pictures per update that the published GhostNet learning rate of 0.8 is for: 4 cards x 512."""

_S = TypeVar("_S", bound="Schedule")


@dataclass(frozen=True)
class Schedule:
    """What every learning rate has.

    Attributes:
        last_epoch: how far the schedule has already gone when it starts; -1 is the beginning.
        by_epoch: move once per epoch, not once per step.
        auto_scale: multiply the whole curve by (total batch of this run / base_total_batch), the linear rule
            of Goyal et al., arXiv:1706.02677. PaddleClas has no such key.
        base_total_batch: pictures per update that the written rates are for; None is 2048, the 4 cards x 512
            of the published GhostNet recipes. A YAML states the batch of one card only, and an override
            may have changed it, so the total cannot be read from there.
    """

    last_epoch: Annotated[int, Range(-1)] = -1
    by_epoch: bool = False
    auto_scale: bool = False
    base_total_batch: Optional[PositiveInt] = None

    # The keys that hold learning rates; the first is the one that a warm-up climbs to.
    rates: ClassVar[tuple[str, ...]] = ("learning_rate",)
    refused_keys: ClassVar[Mapping[str, Refused]] = {
        "epochs": Refused("the length of the run is Global.epochs; remove this key, it never had an effect"),
        "step_each_epoch": Refused(
            "the data give the steps of an epoch; remove this key, it never had an effect"
        ),
        "verbose": Refused("the log lines show the learning rate; remove this key"),
        "scale_fn": Refused("a function cannot be written in YAML; use mode"),
        "scale_mode": Refused("it has no effect without scale_fn; remove it", harmless=("cycle",)),
    }

    def scaled(self: _S, total_batch: int) -> _S:
        """Return the schedule for `total_batch` pictures per update; itself unless `auto_scale` is on.

        Args:
            total_batch: batch of one card x cards x accumulated steps.
        """
        if not self.auto_scale:
            return self
        factor = total_batch / (self.base_total_batch or PUBLISHED_TOTAL_BATCH)
        return replace(
            self, auto_scale=False, **{key: _times(getattr(self, key), factor) for key in self.rates}
        )


def _times(rate: Any, factor: float) -> Any:
    """Multiply a rate, a tuple of rates or None."""
    if rate is None:
        return None
    return tuple(value * factor for value in rate) if isinstance(rate, tuple) else rate * factor


@dataclass(frozen=True)
class Warmup(Schedule):
    """What every learning rate has that can be warmed up.

    Attributes:
        warmup_epoch: epochs in which the rate climbs in a straight line from `warmup_start_lr`.
        warmup_start_lr: first rate of the climb; it must lie below the rate that is climbed to.
    """

    warmup_epoch: NonNegativeFloat = 0
    warmup_start_lr: Rate = 0.0

    rates: ClassVar[tuple[str, ...]] = ("learning_rate", "warmup_start_lr")

    def __post_init__(self) -> None:
        if self.warmup_epoch and self.warmup_start_lr >= self.start:
            raise ValueError(
                f"the warm-up climbs from warmup_start_lr, {self.warmup_start_lr:g}, to the first rate of "
                f"the schedule, {self.start:g}; it must start below"
            )

    @property
    def start(self) -> float:
        """The rate that the warm-up climbs to."""
        return float(getattr(self, self.rates[0]))


# Factor of a drop of the rate: between 0 and 1, both excluded (see `_check_drop`).
Drop = Annotated[float, Arithmetic(), Range(0, 1, above=True)]


# A dataclass collects fields from its bases in reverse: obligatory keys live in a base of their own, named
# last, so that they come before the optional ones on Python 3.9, which has no keyword-only fields.


@dataclass(frozen=True)
class _LearningRate:
    learning_rate: Rate


@dataclass(frozen=True)
class Constant(Schedule, _LearningRate):
    """One rate for ever, without warm-up (ConstLR has one); also what `lr` without a name is."""


@dataclass(frozen=True)
class ConstLR(Warmup, _LearningRate):
    """One rate after the warm-up."""


@dataclass(frozen=True)
class Linear(Warmup, _LearningRate):
    """A polynomial from `learning_rate` down to `end_lr` over the epochs after the warm-up.

    Attributes:
        end_lr: last rate.
        power: exponent of the polynomial; 1 is a straight line.
        cycle: start again from a longer curve when the end is reached.
    """

    end_lr: Rate = 0.0
    power: PositiveFloat = 1.0
    cycle: bool = False

    rates: ClassVar[tuple[str, ...]] = (*Warmup.rates, "end_lr")


@dataclass(frozen=True)
class Cosine(Warmup, _LearningRate):
    """Half a cosine from `learning_rate` down to `eta_min` over the epochs after the warm-up.

    Attributes:
        eta_min: last rate.
    """

    eta_min: Rate = 0.0

    rates: ClassVar[tuple[str, ...]] = (*Warmup.rates, "eta_min")


@dataclass(frozen=True)
class _Triangle:
    base_learning_rate: Rate
    max_learning_rate: Rate
    step_size_up: PositiveInt


@dataclass(frozen=True)
class Cyclic(Warmup, _Triangle):
    """A saw between two rates.

    Attributes:
        base_learning_rate: lower end of the saw; the warm-up climbs to it.
        max_learning_rate: upper end.
        step_size_up: steps of the way up.
        step_size_down: steps of the way down; None is `step_size_up`.
        mode: same height ("triangular"), halved each cycle ("triangular2"), or shrinking by `exp_gamma` each
            step ("exp_range").
        exp_gamma: base of "exp_range".
    """

    step_size_down: Optional[PositiveInt] = None
    mode: Annotated[str, Choice(("triangular", "triangular2", "exp_range"))] = "triangular"
    exp_gamma: PositiveFloat = 1.0

    rates: ClassVar[tuple[str, ...]] = ("base_learning_rate", "max_learning_rate", "warmup_start_lr")


@dataclass(frozen=True)
class _Stairs(_LearningRate):
    step_size: PositiveFloat
    gamma: Drop


@dataclass(frozen=True)
class Step(Warmup, _Stairs):
    """`learning_rate` x `gamma` to the power of (epochs so far // `step_size`).

    Attributes:
        step_size: epochs between two drops; a fraction such as 2.4 is allowed unless `by_epoch`.
        gamma: factor of a drop.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_drop("gamma", self.gamma)
        if self.by_epoch and self.step_size != int(self.step_size):
            raise ValueError(
                f"step_size is {self.step_size:g}; with by_epoch it must be a whole number of epochs"
            )


@dataclass(frozen=True)
class Piecewise(Warmup):
    """Given rates between given epochs.

    PaddleClas has a second form: where `learning_rate` is given, `decay_epochs` and `values` are replaced by
    "a tenth every 30 epochs" from that rate on. Its ResNet recipes give all three, so this holds here too.

    Attributes:
        decay_epochs: epochs at which the next value begins.
        values: the rates, one more than `decay_epochs`.
        learning_rate: first rate of the second form.
    """

    decay_epochs: Optional[tuple[PositiveInt, ...]] = None
    values: Optional[tuple[Rate, ...]] = None
    learning_rate: Optional[Rate] = None

    rates: ClassVar[tuple[str, ...]] = ("learning_rate", "values", "warmup_start_lr")

    def __post_init__(self) -> None:
        if not self.learning_rate:
            self._check_values()
        super().__post_init__()

    @property
    def start(self) -> float:
        """The rate that the warm-up climbs to."""
        return self.learning_rate or (self.values or (0.0,))[0]

    def _check_values(self) -> None:
        if self.decay_epochs is None or self.values is None:
            raise ValueError(
                "Piecewise takes decay_epochs and values, or learning_rate for a tenth every 30 epochs"
            )
        if len(self.values) != len(self.decay_epochs) + 1:
            raise ValueError(
                f"{len(self.decay_epochs)} decay_epochs part {len(self.decay_epochs) + 1} values, "
                f"but {len(self.values)} are given"
            )
        _check_increasing("decay_epochs", self.decay_epochs)


@dataclass(frozen=True)
class _Milestones(_LearningRate):
    milestones: tuple[PositiveInt, ...]


@dataclass(frozen=True)
class MultiStepDecay(Warmup, _Milestones):
    """`learning_rate` x `gamma` at each milestone.

    Attributes:
        milestones: epochs of the drops, increasing.
        gamma: factor of a drop.
    """

    gamma: Drop = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_drop("gamma", self.gamma)
        _check_increasing("milestones", self.milestones)


@dataclass(frozen=True)
class ReduceOnPlateau(Warmup, _LearningRate):
    """A drop whenever the validation accuracy has stopped rising.

    The loop hands over the accuracy after each evaluation, so `by_epoch` must be True and `mode` "max", and
    there is no warm-up; PaddleClas accepts the other values and then fails, or drops while accuracy rises.

    Attributes:
        factor: what the rate is multiplied by.
        patience: evaluations without progress before a drop.
        threshold: how much is progress: a share of the best ("rel") or an amount ("abs").
        cooldown: evaluations to wait after a drop.
        min_lr: the rate never falls below it.
        epsilon: a smaller change of the rate is not made.
    """

    mode: Annotated[str, Choice(("min", "max"))] = "min"
    factor: Drop = 0.1
    patience: NonNegativeInt = 10
    threshold: NonNegativeFloat = 1e-4
    threshold_mode: Annotated[str, Choice(("rel", "abs"))] = "rel"
    cooldown: NonNegativeInt = 0
    min_lr: Rate = 0
    epsilon: Rate = 1e-8

    rates: ClassVar[tuple[str, ...]] = ("learning_rate", "min_lr", "epsilon")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_drop("factor", self.factor)
        if self.mode != "max" or not self.by_epoch or self.warmup_epoch:
            raise ValueError(
                "ReduceOnPlateau watches the validation accuracy after each evaluation: "
                "write `mode: max`, `by_epoch: True` and no warmup_epoch"
            )


@dataclass(frozen=True)
class _FixmatchWarmup(_LearningRate):
    num_warmup_steps: NonNegativeInt


@dataclass(frozen=True)
class CosineFixmatch(Schedule, _FixmatchWarmup):
    """A straight climb from zero, then a part of a cosine.

    Attributes:
        num_warmup_steps: steps of the climb.
        num_cycles: half turns of the cosine; 7/16 ends at about a fifth of the rate.
    """

    num_cycles: Annotated[float, Arithmetic(), Range(0)] = 7 / 16


@dataclass(frozen=True)
class _OneCycleTop:
    max_learning_rate: Rate


@dataclass(frozen=True)
class OneCycleLR(Warmup, _OneCycleTop):
    """One climb to `max_learning_rate` and one descent to almost nothing (Smith and Topin, arXiv:1708.07120).

    Attributes:
        max_learning_rate: the top.
        divide_factor: the first rate is the top divided by it.
        end_learning_rate: last rate.
        phase_pct: share of the steps that climb.
        anneal_strategy: shape of both ways.
        three_phase: go back to the first rate before going to the last; `phase_pct` is then below 0.5.
    """

    divide_factor: PositiveFloat = 25.0
    end_learning_rate: Rate = 1e-10
    phase_pct: Fraction = 0.3
    anneal_strategy: Annotated[str, Choice(("cos", "linear"))] = "cos"
    three_phase: bool = False

    rates: ClassVar[tuple[str, ...]] = ("max_learning_rate", "end_learning_rate", "warmup_start_lr")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.three_phase and self.phase_pct >= 0.5:
            raise ValueError(f"phase_pct is {self.phase_pct:g}; with three_phase it must be below 0.5")


def _check_drop(key: str, factor: float) -> None:
    if not 0 < factor < 1:
        raise ValueError(f"{key} is {factor:g}; a drop takes a factor between 0 and 1")


def _check_increasing(key: str, epochs: tuple[int, ...]) -> None:
    if list(epochs) != sorted(set(epochs)):
        raise ValueError(f"{key} is {list(epochs)}; the epochs must increase")


SCHEDULES: Mapping[str, type[Schedule]] = _table(
    Constant,
    ConstLR,
    Linear,
    Cosine,
    Cyclic,
    Step,
    Piecewise,
    MultiStepDecay,
    ReduceOnPlateau,
    CosineFixmatch,
    OneCycleLR,
)

REFUSED_SCHEDULES: Mapping[str, str] = {}

# ------------------------------------------------------------------------------------------ optimizers


@dataclass(frozen=True)
class L1:
    """Weight decay towards zero by the sign of the weight.

    Attributes:
        coeff: factor of the penalty.
    """

    coeff: Rate = 0.0


@dataclass(frozen=True)
class L2:
    """Weight decay towards zero in proportion to the weight.

    Attributes:
        coeff: factor of the penalty.
    """

    coeff: Rate = 0.0


REGULARIZERS: Mapping[str, type] = _table(L1, L2)

AnySchedule = Annotated[Any, Named("learning rate", SCHEDULES, REFUSED_SCHEDULES, default="Constant")]
AnyRegularizer = Annotated[Any, Named("regularizer", REGULARIZERS, {})]


@dataclass(frozen=True)
class _ObligatoryRate:
    lr: AnySchedule


@dataclass(frozen=True)
class Optimizer(_ObligatoryRate):
    """What every optimizer has.

    Attributes:
        lr: the schedule of the learning rate.
        scope: which part it trains: "all", the class name of the network, the name of a layer, or a regular
            expression that matches whole layer names.
        clip_norm: each gradient tensor is shortened to this L2 norm.
        weight_decay: factor of an L2 penalty (of decoupled decay for AdamW).
        regularizer: the penalty in words; not together with `weight_decay`.
    """

    scope: str = "all"
    clip_norm: Optional[PositiveFloat] = None
    weight_decay: Optional[Rate] = None
    regularizer: Optional[AnyRegularizer] = None

    refused_keys: ClassVar[Mapping[str, Refused]] = {
        "clip_grad": Refused("PaddleClas ignores it; write clip_norm, which clips"),
        "parameter_list": Refused("scope says what is trained"),
    }
    # The linear rule is known to hold for SGD with or without momentum.
    scales_linearly: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.regularizer is not None and self.weight_decay is not None:
            raise ValueError("weight_decay and regularizer are two words for one thing; keep one")
        if self.lr.auto_scale and self.lr.base_total_batch is None and not self.scales_linearly:
            raise ValueError(
                f"lr.auto_scale: no {type(self).__name__} recipe is published for GhostNet, so nobody knows "
                "the batch that learning_rate is for; set lr.base_total_batch"
            )


@dataclass(frozen=True)
class _Selective(Optimizer):
    """What an optimizer has that can leave parameters without decay.

    Attributes:
        no_weight_decay_name: words, parted by spaces; a parameter whose name contains one is not decayed.
        one_dim_param_no_weight_decay: vectors (biases, normalisation) are not decayed.
    """

    no_weight_decay_name: Optional[str] = None
    one_dim_param_no_weight_decay: bool = False


@dataclass(frozen=True)
class SGD(Optimizer):
    """Plain gradient descent.

    Attributes:
        multi_precision: keep float32 copies of float16 weights.
    """

    multi_precision: bool = False

    scales_linearly: ClassVar[bool] = True


@dataclass(frozen=True)
class _MomentumFactor(_ObligatoryRate):
    momentum: Fraction


@dataclass(frozen=True)
class Momentum(_Selective, _MomentumFactor):
    """Gradient descent with momentum.

    Attributes:
        momentum: share of the last update that is kept.
        use_nesterov: look ahead along the momentum.
        multi_precision: keep float32 copies of float16 weights.
    """

    use_nesterov: bool = False
    multi_precision: bool = True

    scales_linearly: ClassVar[bool] = True


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, arXiv:1412.6980) with an L2 penalty.

    Attributes:
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        epsilon: added to the denominator.
        lazy_mode: update only the rows of a sparse gradient that are present.
        multi_precision: keep float32 copies of float16 weights.
    """

    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Rate = 1e-8
    lazy_mode: bool = False
    multi_precision: bool = False


@dataclass(frozen=True)
class RMSProp(_Selective):
    """RMSProp with momentum.

    Attributes:
        momentum: share of the last update that is kept.
        rho: decay of the squared gradient.
        epsilon: added to the denominator.
    """

    momentum: Fraction = 0.0
    rho: Fraction = 0.95
    epsilon: Rate = 1e-6

    refused_keys: ClassVar[Mapping[str, Refused]] = {
        **Optimizer.refused_keys,
        "multi_precision": Refused("Paddle's RMSProp has no float32 copies of float16 weights"),
    }


@dataclass(frozen=True)
class AdamW(_Selective):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101).

    Attributes:
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        epsilon: added to the denominator.
        multi_precision: keep float32 copies of float16 weights.
    """

    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Rate = 1e-8
    multi_precision: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.regularizer is not None:
            raise ValueError("AdamW decays weights by itself; write weight_decay, not regularizer")


OPTIMIZERS: Mapping[str, type[Optimizer]] = _table(SGD, Momentum, Adam, RMSProp, AdamW)

REFUSED_OPTIMIZERS: Mapping[str, str] = {
    "AdamWDL": "AdamWDL lowers the learning rate by transformer layer; GhostNet has none, use AdamW",
}

# --------------------------------------------------------------------------------------------- metrics


@dataclass(frozen=True)
class TopkAcc:
    """Share of the pictures whose class is among the k best.

    Attributes:
        topk: the values of k; each is cut to the number of classes.
    """

    topk: Annotated[tuple[PositiveInt, ...], Alone(PositiveInt)] = (1, 5)

    def __post_init__(self) -> None:
        if self.topk == ():
            raise ValueError("topk is empty; it takes one or more numbers, [1, 5]")


@dataclass(frozen=True)
class _ModelKey:
    model_key: str


@dataclass(frozen=True)
class DistillationTopkAcc(TopkAcc, _ModelKey):
    """The same of one network of a `DistillationModel`.

    Attributes:
        model_key: its name there; it must be the one that is shipped, `infer_model_name`.
        feature_key: "logits" or None, which are the same.
    """

    feature_key: Annotated[Optional[str], Choice((None, "logits"))] = None


METRICS: Mapping[str, type] = _table(TopkAcc, DistillationTopkAcc)

REFUSED_METRICS: Mapping[str, str] = {
    "GoogLeNetTopkAcc": "it reads the three outputs of GoogLeNet; GhostNet has one, use TopkAcc",
    **_refuse("mAP mINP Recallk Precisionk TprAtFpr", f"retrieval is out of scope here; {_PADDLECLAS}"),
    **_refuse(
        "HammingDistance AccuracyScore ATTRMetric MultilabelMeanAccuracy MultiLabelMAP",
        f"several labels per picture are out of scope here; {_PADDLECLAS}",
    ),
}

# ------------------------------------------------------------------------------------------ AMP and EMA


@dataclass(frozen=True)
class AMP:
    """Automatic mixed precision; the section switches it on unless `use_amp` is False.

    Attributes:
        use_amp: the switch.
        level: "O1" casts single operators, "O2" casts the whole network.
        use_promote: compute in float32 when one input of an operator is float32 (O2).
        use_fp16_test: evaluate in low precision too. O2 always does: its weights are low precision.
        scale_loss: first factor of the loss.
        use_dynamic_loss_scaling: adapt the factor to overflows.
        dtype: the low precision; PaddleClas has no such key and takes float16.
    """

    use_amp: bool = True
    level: Annotated[str, Choice(("O1", "O2"))] = "O1"
    use_promote: bool = False
    use_fp16_test: bool = False
    scale_loss: PositiveFloat = 1.0
    use_dynamic_loss_scaling: bool = False
    dtype: Annotated[str, Choice(("float16", "bfloat16"))] = "float16"


@dataclass(frozen=True)
class EMA:
    """A second set of weights: the exponential moving average of the first; the section switches it on.

    Attributes:
        decay: share of the average that is kept at each update.
    """

    decay: Fraction = 0.9999


AnyLoss = Annotated[Any, Keyed("loss", LOSSES, REFUSED_LOSSES)]
AnyMetric = Annotated[Any, Keyed("metric", METRICS, REFUSED_METRICS)]
AnyOptimizer = Annotated[Any, Named("optimizer", OPTIMIZERS, REFUSED_OPTIMIZERS)]
AnyKeyedOptimizer = Annotated[Any, Keyed("optimizer", OPTIMIZERS, REFUSED_OPTIMIZERS)]
