"""Losses between the networks of a `DistillationModel`, as plain data.

Named as in a PaddleClas YAML, with its keys and defaults; `ppghost.train.distillation` computes them.

Ground: no paddle, nothing of ours but the schema vocabulary.
Source: PaddleClas `ppcls/loss/{distillation,dml,kldiv,dkd,wsl,skd,dist_,distance}loss.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Optional

from ppghost.config.types import Arithmetic, Choice, Fraction, PositiveFloat, Range, Refused

# One loss between the outputs of two networks, for each (student, teacher).
Pairs = tuple[tuple[str, str], ...]
# What is compared: "logits" and None are what a network returns.
Logits = Annotated[Optional[str], Choice((None, "logits"))]


@dataclass(frozen=True)
class PairLoss:
    """What every loss between two networks has.

    Attributes:
        model_name_pairs: (student, teacher) by their names in `Arch.models`.
        weight: factor of this loss in the total.
        key: what is compared.
        name: how the log calls it, in those losses where PaddleClas' log does.
    """

    model_name_pairs: Pairs = ()
    weight: float = 1.0
    key: Logits = None
    name: str = "loss"

    def __post_init__(self) -> None:
        if not self.model_name_pairs:
            raise ValueError('model_name_pairs is empty; write at least one pair, [["Student", "Teacher"]]')
        for first, second in self.model_name_pairs:
            if first == second:
                raise ValueError(
                    f"model_name_pairs pairs {first!r} with itself; a network cannot be its own teacher"
                )

    @property
    def model_names(self) -> tuple[str, ...]:
        """The networks that it reads."""
        return tuple(name for pair in self.model_name_pairs for name in pair)

    @property
    def needs_one_class(self) -> bool:
        """Whether it reads one right class of each picture, which mixed pictures do not have."""
        return False


@dataclass(frozen=True)
class DistillationDMLLoss(PairLoss):
    """Symmetric Kullback-Leibler divergence, the loss of SSLD and of deep mutual learning.

    Attributes:
        act: how logits become shares: over all classes, or each class by itself.
        sum_across_class_dim: multiply by the number of classes, as PaddleClas' sum over them does.
    """

    name: str = "loss_dml"
    act: Annotated[str, Choice(("softmax", "sigmoid"))] = "softmax"
    sum_across_class_dim: bool = False

    refused_keys: ClassVar[Mapping[str, Refused]] = {
        "weight_ratio": Refused(
            "it weighs several labels per picture, which are out of scope here; leave it False."
        )
    }


@dataclass(frozen=True)
class DistillationCELoss(PairLoss):
    """Cross entropy of the student's logits and the teacher's softmax.

    Attributes:
        epsilon: share of the teacher's answer that is spread over all classes; 0 and None mean none. With it,
            PaddleClas takes the teacher's logits for shares; here they pass a softmax first.
    """

    name: str = "loss_ce"
    epsilon: Optional[Annotated[float, Arithmetic(), Range(0, 1)]] = None


@dataclass(frozen=True)
class DistillationKLDivLoss(PairLoss):
    """Kullback-Leibler divergence of softened answers (Hinton et al., arXiv:1503.02531).

    Attributes:
        temperature: what logits are divided by; the loss is multiplied by its square.
    """

    name: str = "loss_kl"
    temperature: PositiveFloat = 4.0


@dataclass(frozen=True)
class DistillationDKDLoss(PairLoss):
    """Decoupled knowledge distillation (Zhao et al., arXiv:2203.08679).

    Attributes:
        temperature: what logits are divided by; the loss is multiplied by its square.
        alpha: factor of the part on the right class.
        beta: factor of the part among the other classes.
        use_target_as_gt: the teacher's best class is the right one, whatever the label says.
    """

    name: str = "loss_dkd"
    temperature: PositiveFloat = 1.0
    alpha: float = 1.0
    beta: float = 1.0
    use_target_as_gt: bool = False

    @property
    def needs_one_class(self) -> bool:
        """Whether the label says which class is right, and not the teacher's best answer."""
        return not self.use_target_as_gt


@dataclass(frozen=True)
class DistillationWSLLoss(PairLoss):
    """Weighted soft labels (Zhou et al., arXiv:2102.00650).

    Attributes:
        temperature: what logits are divided by; the loss is multiplied by its square.
    """

    name: str = "wsl_loss"
    temperature: PositiveFloat = 2.0

    @property
    def needs_one_class(self) -> bool:
        """Always: how wrong both are on the label's class weighs the answers."""
        return True


@dataclass(frozen=True)
class DistillationSKDLoss(PairLoss):
    """Spherical knowledge distillation (Guo et al., arXiv:2010.07485).

    Attributes:
        temperature: what logits are divided by; the loss is multiplied by its square.
        multiplier: length of the logits after they were brought to one length.
        alpha: share of the teacher's answer; the rest is the label's.
        use_target_as_gt: the teacher's best class is the right one, whatever the label says.
    """

    name: str = "skd_loss"
    temperature: PositiveFloat = 1.0
    multiplier: PositiveFloat = 2.0
    alpha: Fraction = 0.9
    use_target_as_gt: bool = False

    @property
    def needs_one_class(self) -> bool:
        """Whether the label says which class is right, and not the teacher's best answer."""
        return not self.use_target_as_gt


@dataclass(frozen=True)
class DistillationDISTLoss(PairLoss):
    """Correlations of answers between and within classes (Huang et al., arXiv:2205.10536).

    Attributes:
        beta: factor of the part between the classes of a picture.
        gamma: factor of the part between the pictures of a class.
    """

    name: str = "loss_dist"
    beta: float = 1.0
    gamma: float = 1.0


@dataclass(frozen=True)
class DistillationDistanceLoss(PairLoss):
    """Distance of what two networks compute.

    Attributes:
        mode: absolute, squared, or squared below one and absolute above.
        act: what is applied first.
        key: "logits" and None are the outputs; another text is the name of a sublayer that both networks
            have, whose outputs are compared.
    """

    name: str = "loss_"
    key: Optional[str] = None
    mode: Annotated[str, Choice(("l1", "l2", "smooth_l1"))] = "l2"
    act: Annotated[Optional[str], Choice((None, "softmax", "sigmoid"))] = None


@dataclass(frozen=True)
class DistillationGTCELoss:
    """Cross entropy with the labels, for some networks of a `DistillationModel`.

    Attributes:
        model_names: by their names in `Arch.models`.
        weight: factor of this loss in the total.
        epsilon: share of the label that is spread over all classes; 0 and None mean no smoothing.
        key: what is compared.
        name: read for PaddleClas' sake, where it has no effect.
    """

    model_names: tuple[str, ...] = ()
    weight: float = 1.0
    epsilon: Optional[Annotated[float, Arithmetic(), Range(0, 1)]] = None
    key: Logits = None
    name: str = "loss_gt_ce"

    def __post_init__(self) -> None:
        if not self.model_names:
            raise ValueError('model_names is empty; write at least one network, ["Student"]')


DISTILLATION_LOSSES = (
    DistillationDMLLoss,
    DistillationCELoss,
    DistillationGTCELoss,
    DistillationKLDivLoss,
    DistillationDKDLoss,
    DistillationWSLLoss,
    DistillationSKDLoss,
    DistillationDISTLoss,
    DistillationDistanceLoss,
)
"""Losses that read several networks: they go with `Arch: DistillationModel` and with nothing else."""
