"""Storing soft labels: a teacher answers once to every view of every picture of a recipe.

The pictures are read by the recipe's own loader, in the order of the list: what a picture looks like depends
on its number and view, not on its place in an epoch. The teacher answers in evaluation mode and in float32.

House: imports paddle, the config and data rooms and the networks; not the loop.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import numpy as np
from paddle.utils import unique_name

from ppghost.config import Config
from ppghost.config.loading import DistributedBatchSampler
from ppghost.config.sections import DistillationModel
from ppghost.data import Batch, Loader, build_loader
from ppghost.data.reader import Skipped
from ppghost.data.soft_labels import Header, Store, kept_of, missing, pack, storing
from ppghost.errors import ConfigError, TrainingError
from ppghost.train.distillation import Members
from ppghost.train.networks import build_member
from ppghost.train.run import prepare_device
from ppghost.train.stored import check_can_be_stored, identity_of, ops_of
from ppghost.train.teachers import OtherZoo, Teachers, no_other_zoo

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Order:
    """What is to be stored.

    Attributes:
        config: a recipe that distils, with its live teacher.
        teacher: which of its networks.
        header: of the file.
        loader: reads the pictures, view after view.
        batch_size: pictures that the teacher sees at once.
    """

    config: Config
    teacher: str
    header: Header
    loader: Loader
    batch_size: int


def prepare(config: Config, *, teacher: Optional[str], views: int, top_k: int) -> Order:
    """Return what is to be stored; opens the pictures and builds no network.

    Args:
        config: a recipe that distils, with its live teacher.
        teacher: which of its networks; None where there is one.
        views: how many drawings of each picture.
        top_k: how many classes of an answer are kept, at most.

    Raises:
        GhostError: there is no such teacher, its answers cannot be stored, or the pictures cannot be read
            or are listed again.
    """
    chosen = find_teacher(config, teacher)
    check_can_be_stored(config)
    train = config.DataLoader.Train
    assert train is not None, "checked"
    batch_size = train.sampler.batch_size
    loader = build_loader(
        dataclasses.replace(train, sampler=DistributedBatchSampler(batch_size)),
        seed=config.Global.seed,
        rank=0,
        world_size=1,
        epochs=views,
        class_num=config.shipped.class_num,
        training=True,
        distinct=True,  # as the training that reads the file
    )
    assert isinstance(config.Arch, DistillationModel), "it has a teacher"
    name, weights = identity_of(config.Arch.members[chosen])
    classes = config.shipped.class_num
    header = Header(
        pictures=len(loader.samples),
        classes=classes,
        kept=kept_of(top_k, classes),
        views=views,
        seed=config.Global.seed,
        samples=loader.samples.digest(),
        ops=ops_of(config),
        teacher=name,
        weights=weights,
    )
    return Order(config, chosen, header, loader, batch_size)


def store(
    order: Order, path: Path, *, progress: Progress, other_zoo: OtherZoo = no_other_zoo
) -> tuple[Skipped, ...]:
    """Let the teacher answer and write its answers; goes on where an earlier run stopped.

    Side effect: changes Paddle's device.

    Args:
        order: what `prepare` returned.
        path: the file.
        progress: told how many answers were added just now, of how many.
        other_zoo: finds teachers that are no networks of ours, such as `ppghost.plugin.find_theirs`.

    Returns:
        Path and reason of each picture that could not be read.

    Raises:
        GhostError: the teacher cannot be built, the file cannot be written or is of another recipe, or too
            many pictures cannot be read.
    """
    header, skipped = order.header, dict[str, str]()
    with unique_name.guard(), Teachers(order.config, other_zoo) as teachers:
        teachers.check()
        prepare_device(order.config)
        with storing(path, header, order.batch_size) as unfinished:
            progress(unfinished.done, header.answers)
            members = _teacher_of(order, teachers)
            view, done = divmod(unfinished.done, header.pictures)
            for each in range(view, header.views):
                for batch in order.loader.batches(each + 1, start=done // order.batch_size):
                    before = unfinished.done
                    _skip_to(unfinished, each * header.pictures + batch.number * order.batch_size, header)
                    unfinished.append(_answers(members, order, batch))
                    progress(unfinished.done - before, header.answers)
                _skip_to(unfinished, (each + 1) * header.pictures, header)
                skipped.update(order.loader.skipped)
                done = 0
    return tuple(skipped.items())


def find_teacher(config: Config, name: Optional[str] = None) -> str:
    """Return the name of the teacher whose answers can be stored.

    Args:
        config: with a `DistillationModel`.
        name: the one that is meant; None where there is only one.

    Raises:
        GhostError: there is none, there are several, or it is not clear what it knows.
    """
    arch = config.Arch
    if not isinstance(arch, DistillationModel) or not arch.frozen:
        raise ConfigError(
            f"{config.source}: there is no teacher: Arch is no DistillationModel whose freeze_params_list "
            "freezes a network. Give a recipe that distils, such as configs/GhostNet_x1_3_ssld.yaml."
        )
    if name is None and len(arch.frozen) > 1:
        raise ConfigError(
            f"{config.source}: there are several teachers: {', '.join(arch.frozen)}. Name one with --teacher."
        )
    chosen = name or arch.frozen[0]
    if chosen not in arch.frozen:
        raise ConfigError(
            f"{config.source}: '{chosen}' is no teacher; the networks that are not trained: "
            f"{', '.join(arch.frozen)}."
        )
    _check_is_live(config, chosen)
    return chosen


def _check_is_live(config: Config, name: str) -> None:
    assert isinstance(config.Arch, DistillationModel), "it has a teacher"
    member = config.Arch.members[name]
    if member.soft_labels is not None:
        raise ConfigError(
            f"{config.source}: Arch.models: {name} has soft_labels already and would not be run. Leave them "
            "out to store its answers."
        )
    if config.Arch.teacher_train_mode:
        raise ConfigError(
            f"{config.source}: teacher_train_mode lets answers depend on the batch; soft labels are answers "
            "to single pictures. Set -o Arch.teacher_train_mode=False."
        )
    if config.Global.pretrained_model or config.Global.checkpoints:
        raise ConfigError(
            f"{config.source}: Global.pretrained_model and Global.checkpoints would give {name} its weights, "
            "but soft labels remember those that Arch.models names. Set both to null, and name the weights "
            f"of {name} as its pretrained."
        )
    if not identity_of(member)[1]:
        raise ConfigError(
            f"{config.source}: Arch.models: {name} has no weights, so its answers are random. Name them as "
            "its pretrained, or in Arch.pretrained_list."
        )


def _teacher_of(order: Order, teachers: Teachers) -> Members:
    """Return the teacher, frozen."""
    assert isinstance(order.config.Arch, DistillationModel), "it has a teacher"
    member = order.config.Arch.members[order.teacher]
    net = build_member(order.config, order.teacher, member, teachers)
    return Members({order.teacher: net}, (order.teacher,))


def _answers(members: Members, order: Order, batch: Batch) -> np.ndarray:
    """Return the records of a batch, those of pictures that could not be read included."""
    logits = members(batch.images)[order.teacher].astype("float32").numpy()
    if not np.isfinite(logits).all():
        broken = int(batch.indices[~np.isfinite(logits).all(axis=1)][0])
        raise TrainingError(
            f"{order.teacher} does not answer with numbers to '{order.loader.samples.name(broken)}': NaN or "
            "infinity. Its weights are broken, or not for pictures prepared like this."
        )
    start = batch.number * order.batch_size
    records = missing(min(order.batch_size, order.header.pictures - start), order.header)
    records[batch.indices - start] = pack(logits, order.header)
    return records


def _skip_to(unfinished: Store, position: int, header: Header) -> None:
    """Mark the pictures before a position as unread: whole batches of them bring nothing."""
    if unfinished.done < position:
        unfinished.append(missing(position - unfinished.done, header))
