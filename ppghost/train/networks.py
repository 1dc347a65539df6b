"""Networks as a configuration describes them: to be trained, one or several, or finished.

House: imports the config and zoo rooms, the task and loss bricks; not the loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from paddle import nn

from ppghost.config import Config
from ppghost.config.sections import AnyMember, Arch, DistillationModel, ExportedTeacher
from ppghost.errors import ConfigError, WeightsError
from ppghost.train import dist
from ppghost.train.distillation import Distill, Members, build_distillation_loss, watched_features
from ppghost.train.freeze import freeze
from ppghost.train.losses import build_loss
from ppghost.train.stored import StoredAnswers, open_stored
from ppghost.train.task import Classify, Task
from ppghost.train.teachers import Teachers, is_foreign
from ppghost.zoo import build_model, get_card
from ppghost.zoo.factory import load_pretrained
from ppghost.zoo.weights import load_weights, local_weights, read_weights

_LOG = logging.getLogger(__name__)
_Value = TypeVar("_Value")


def build_task(
    config: Config, wrapped: Callable[[nn.Layer], nn.Layer], teachers: Teachers, *, resuming: bool = False
) -> Task:
    """Build what is trained: one network, or those of a `DistillationModel`.

    Args:
        config: Arch, Global and Loss are read.
        wrapped: returns a network as a step calls it: compiled, or spread over several devices.
        teachers: opens those that are no networks of ours.
        resuming: a checkpoint will give the weights, so none are loaded.

    Raises:
        GhostError: as `build_net`, or the losses do not fit the networks.
    """
    arch, weights = config.Arch, config.Global.pretrained_model
    if not isinstance(arch, DistillationModel):
        net, loss = build_net(config, arch, resuming=resuming), build_loss(config.Loss.Train)
        if weights and not resuming:
            load_pretrained(net, get_card(arch.name), weights)
        check_finite(net)
        return Classify(net, loss, forward=wrapped(net))
    networks = {
        name: build_member(config, name, member, teachers, resuming=resuming)
        for name, member in arch.members.items()
        if name not in arch.stored
    }
    members = Members(
        networks,
        [name for name in arch.frozen if name in networks],
        teacher_train_mode=arch.teacher_train_mode,
        features=watched_features(config.Loss.Train),
    )
    if weights and not resuming:
        load_weights(members, local_weights(weights))
    check_finite(members)
    losses = build_distillation_loss(config.Loss.Train)
    answers = StoredAnswers(open_stored(config))
    return Distill(members, arch.infer_model_name, losses, forward=wrapped(members), stored=answers)


def broken_weights(net: nn.Layer) -> list[str]:
    """Return the names of the weights and statistics that are NaN or infinite somewhere."""
    return [name for name, tensor in net.state_dict().items() if not bool(tensor.isfinite().all())]


def check_finite(net: nn.Layer) -> None:
    """Make sure that the weights that a run begins with are numbers.

    Raises:
        WeightsError: they are not.
    """
    broken = broken_weights(net)
    if broken:
        raise WeightsError(
            f"{len(broken)} of the weights that were loaded are NaN or infinite, the first is {broken[0]}. "
            "Give a file of a training that did not break down."
        )


def build_member(
    config: Config, name: str, member: AnyMember, teachers: Teachers, *, resuming: bool = False
) -> nn.Layer:
    """Build or open one network of a `DistillationModel`.

    Args:
        config: Global.device is read.
        name: what the configuration calls it.
        member: what it is.
        teachers: opens those that are no networks of ours.
        resuming: a checkpoint will give the weights, so none are loaded.

    Raises:
        GhostError: it cannot be built, or its weights cannot be had or do not fit.
    """
    assert isinstance(config.Arch, DistillationModel), "it has members"
    if isinstance(member, ExportedTeacher):
        return teachers.open(name, member)
    if name in config.Arch.frozen and is_foreign(member):
        return teachers.build(member, resuming=resuming)
    return build_net(config, member, resuming=resuming, fine_tuning=name not in config.Arch.frozen)


def build_net(config: Config, arch: Arch, *, resuming: bool = False, fine_tuning: bool = True) -> nn.Layer:
    """Build one network that is trained, from `Arch.pretrained`; what `Arch.freeze` names is frozen.

    Args:
        config: Global.device is read.
        arch: the network.
        resuming: a checkpoint will give the weights, so none are loaded.
        fine_tuning: weights for another number of classes give all but the classifier; they are refused
            otherwise.

    Raises:
        GhostError: the weights cannot be had or do not fit, or `use_sync_bn` is set without a GPU.
    """
    options = {} if arch.dropped is None else {"dropout": arch.dropped}
    net = build_model(
        arch.name,
        class_num=arch.class_num,
        pretrained=arch.pretrained is True and not resuming,
        use_ssld=arch.use_ssld and not resuming,
        **options,
    )
    if isinstance(arch.pretrained, str) and not resuming:
        load_pretrained(net, get_card(arch.name), arch.pretrained, fine_tuning=fine_tuning)
    if arch.freeze:
        frozen = freeze(net, arch.freeze)
        _LOG.info("Frozen: %d parameters, the first is %s", len(frozen), frozen[0])
    if arch.use_sync_bn or config.Arch.use_sync_bn:
        if not config.Global.device.startswith("gpu"):
            raise ConfigError(
                f"Arch.use_sync_bn is True, but Global.device is '{config.Global.device}': Paddle has "
                "synchronised batch norm for GPUs only. Set -o Arch.use_sync_bn=False, or freeze it with "
                "Arch.freeze."
            )
        dist.synchronise(net)
    return net


def build_finished_net(config: Config) -> nn.Layer:
    """Build the network that is evaluated, predicts or is shipped; all of its weights must be given.

    Of a `DistillationModel` it is the one that `infer_model_name` names; `Global.pretrained_model` may be a
    checkpoint of all networks, or its weights alone.

    Raises:
        GhostError: the weights cannot be had or do not fit, the classifier included.
    """
    arch, weights = config.shipped, config.Global.pretrained_model
    card = get_card(arch.name)
    if weights is None and isinstance(arch.pretrained, str):
        weights = arch.pretrained
    if weights is None and arch.pretrained and arch.class_num != card.class_num:
        raise ConfigError(
            f"Arch.class_num is {arch.class_num}, but the published weights of {arch.name} are for "
            f"{card.class_num} classes: the classifier would be random. Give your own weights with "
            "-o Global.pretrained_model=..."
        )
    net = build_model(
        arch.name,
        class_num=arch.class_num,
        pretrained=weights is None and bool(arch.pretrained),
        use_ssld=arch.use_ssld,
    )
    if weights is not None and isinstance(config.Arch, DistillationModel):
        state = read_weights(local_weights(weights))
        load_weights(net, own_weights(state, config.Arch.infer_model_name) or state)
    elif weights is not None:
        load_pretrained(net, card, weights, fine_tuning=False)
    return net


def own_weights(state: Mapping[str, _Value], name: str) -> dict[str, _Value]:
    """Return the weights of one network of a `DistillationModel` by the names that it knows them by."""
    prefix = f"{name}."
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
