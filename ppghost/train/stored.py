"""Teachers whose answers are stored: how the files fit a recipe, and what a step reads from them.

An epoch reads the view whose turn it is, with the random numbers of the file, so each picture looks as it did
when the teacher answered; the order of the pictures stays that of the epoch and of `Global.seed`. So one file
serves runs with any seed, number of epochs, processes and students.

House: imports paddle, the config and data rooms, artifacts and weights; not the loop.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Optional

import numpy as np
import paddle
from paddle import Tensor

from ppghost.artifact import read_artifact
from ppghost.config import Config
from ppghost.config.loading import MixSampler, MultiScaleSampler, RASampler, parts_of
from ppghost.config.sections import AnyMember, DistillationModel, ExportedTeacher
from ppghost.data.dataset import Samples
from ppghost.data.reader import Views
from ppghost.data.soft_labels import Header, SoftLabels
from ppghost.errors import ConfigError
from ppghost.train.distillation import watched_features
from ppghost.train.teachers import check_softmax_losses
from ppghost.vision.op import describe
from ppghost.zoo.weights import local_weights, read_weights


class StoredAnswers:
    """The stored answers of the teachers of a run.

    Args:
        files: name -> what it answered.
    """

    def __init__(self, files: Mapping[str, SoftLabels]) -> None:
        self._files = dict(files)

    def __call__(self, view: int, indices: np.ndarray) -> dict[str, Tensor]:
        """Return the logits of each teacher by its name, `float32 [N, C]`.

        Args:
            view: which drawing of the pictures, from 1.
            indices: int64 [N], their numbers in the dataset.

        Raises:
            DataError: there is no answer to one of them.
        """
        return {name: paddle.to_tensor(file.logits(view, indices)) for name, file in self._files.items()}


def stored_members(config: Config) -> Mapping[str, AnyMember]:
    """Return the teachers of a configuration whose answers are stored."""
    return config.Arch.stored if isinstance(config.Arch, DistillationModel) else {}


def open_stored(config: Config) -> dict[str, SoftLabels]:
    """Return the files of all stored teachers.

    Raises:
        DataError: one is missing, cut off, or no such file.
        ConfigError: they cannot be used together.
    """
    files = {name: SoftLabels(_file_of(member)) for name, member in stored_members(config).items()}
    views = {name: _views_of(file) for name, file in files.items()}
    if len(set(views.values())) > 1:
        told = ", ".join(f"{name}: {each.count} of seed {each.seed}" for name, each in views.items())
        raise ConfigError(
            f"{config.source}: Arch.models: the soft labels have different views ({told}); an epoch shows "
            "one drawing of a picture to all. Store them alike."
        )
    return files


def views_of(config: Config) -> Optional[Views]:
    """Return the drawings that the stored teachers saw, None without any; raises as `open_stored`."""
    return next(map(_views_of, open_stored(config).values()), None)


def _views_of(file: SoftLabels) -> Views:
    return Views(file.header.views, file.header.seed)


def _file_of(member: AnyMember) -> Path:
    assert member.soft_labels is not None, "asked for stored teachers only"
    return Path(member.soft_labels).expanduser()


# ------------------------------------------------------------------------------------------------ checking


def check_stored(config: Config) -> None:
    """Check that the stored teachers of a configuration fit it, but for the pictures; reads the files wholly.

    Raises:
        GhostError: a file is missing or damaged, of another teacher or other classes, or something in the
            configuration wants what is not stored.
    """
    files = open_stored(config)
    if files:
        check_can_be_stored(config)
    for name, file in files.items():
        where = f"{config.source}: Arch.models: {name} ({file.path})"
        member, header = stored_members(config)[name], file.header
        if header.classes != config.shipped.class_num:
            raise ConfigError(
                f"{where} has answers for {header.classes} classes, the student has "
                f"{config.shipped.class_num}; a student learns from the answers of a teacher for the same "
                "classes."
            )
        _check_teacher(where, member, header)
        _check_sublayers(config, name, where)
        check_softmax_losses(config, name, f"{where} has shares", "let the teacher answer live")
        file.check()


def check_pictures(config: Config, samples: Samples) -> None:
    """Check that the stored teachers of a configuration saw its pictures.

    Raises:
        ConfigError: they saw others, in another order, or prepared in another way.
    """
    for name, file in open_stored(config).items():
        where, header = f"{config.source}: Arch.models: {name} ({file.path})", file.header
        if header.pictures != len(samples) or header.samples != samples.digest():
            raise ConfigError(
                f"{where} has answers to {header.pictures} other pictures, or to these in another order; "
                f"DataLoader.Train lists {len(samples)}. Train on the list that they were stored for, or "
                "store them anew for this one."
            )
        given = ops_of(config)
        if header.ops != given:
            pairs = zip_longest(header.ops, given, fillvalue="nothing")
            stored, now = next((a, b) for a, b in pairs if a != b)
            raise ConfigError(
                f"{where} has answers to pictures after other transform_ops: the teacher saw {stored} where "
                f"DataLoader.Train has {now}. Write the same, or store the answers anew."
            )


def check_can_be_stored(config: Config) -> None:
    """Check that the answer of a teacher depends on a picture and its view alone.

    Raises:
        ConfigError: something mixes pictures, or draws them in another way.
    """
    train = config.DataLoader.Train
    if train is None:
        raise ConfigError(
            f"{config.source}: DataLoader.Train is missing; soft labels belong to its pictures."
        )
    if train.dataset.batch_transform_ops:
        names = ", ".join(type(op).__name__ for op in train.dataset.batch_transform_ops)
        raise ConfigError(
            f"{config.source}: batch_transform_ops ({names}) mixes pictures with whatever else is in a "
            "batch; soft labels are answers to single pictures. Remove it, or let the teacher answer live."
        )
    if config.Global.train_mode == "progressive":
        raise ConfigError(
            f"{config.source}: Global.train_mode is progressive: pictures change from stage to stage, and "
            "soft labels are answers to pictures of one size. Train in one stage, or let the teacher answer "
            "live."
        )
    if isinstance(train.sampler, (RASampler, MixSampler, MultiScaleSampler)):
        raise ConfigError(
            f"{config.source}: {type(train.sampler).__name__} draws the pictures of an epoch in a way that "
            "soft labels do not hold: several times, or in changing sizes. Use DistributedBatchSampler, or "
            "let the teacher answer live."
        )


def _check_teacher(where: str, member: AnyMember, header: Header) -> None:
    teacher, weights = identity_of(member)
    if header.teacher != teacher:
        raise ConfigError(
            f"{where} has the answers of {header.teacher}, but the teacher is {teacher}. Give the file of "
            f"this teacher, or write name: {header.teacher}."
        )
    if weights and header.weights != weights:
        raise ConfigError(
            f"{where} has the answers of {teacher} with other weights ({header.weights[:20]}) than those "
            f"named here ({weights[:20]}). Store the answers of these, or name the others; pretrained: False "
            "does not say which."
        )


def _check_sublayers(config: Config, name: str, where: str) -> None:
    """Check that no loss compares what a teacher without layers computed inside.

    Raises:
        ConfigError: one does.
    """
    for teacher, layer in watched_features(config.Loss.Train):
        if teacher == name:
            raise ConfigError(
                f"{where} has answers only, but a loss compares '{layer}', a sublayer. Let the teacher "
                "answer live, or compare logits."
            )


def identity_of(member: AnyMember) -> tuple[str, str]:
    """Return which network a teacher is and which weights it has, empty where the configuration names none.

    Raises:
        GhostError: the weights or the folder are missing or broken.
    """
    if isinstance(member, ExportedTeacher):
        facts = read_artifact(member.folder).facts
        return facts.name, f"{facts.version} {facts.precision}"
    if member.pretrained is True:
        return member.name, "published with SSLD" if member.use_ssld else "published"
    if not member.pretrained:
        return member.name, ""
    digest = hashlib.sha256()
    for key, array in sorted(read_weights(local_weights(member.pretrained)).items()):
        digest.update(f"{key} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return member.name, digest.hexdigest()


def ops_of(config: Config) -> tuple[str, ...]:
    """Return what happens to a picture of `DataLoader.Train`, in words that tell every difference."""
    assert config.DataLoader.Train is not None, "checked before"
    return tuple(
        text
        for part in parts_of(config.DataLoader.Train.dataset)
        for text in (type(part).__name__, *(json.dumps(describe(op)) for op in part.transform_ops))
    )
