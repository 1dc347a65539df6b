"""What a configuration will do, found out before it does: its data, the length of an epoch, the batch.

House: imports the config and data rooms and the cards; builds no network.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ppghost.artifact import read_artifact
from ppghost.config import Config
from ppghost.config.loading import DistributedBatchSampler, MixSampler, MultiScaleSampler
from ppghost.config.recipe import (
    PUBLISHED_TOTAL_BATCH,
    DistillationTopkAcc,
    ReduceOnPlateau,
    SoftTargetCrossEntropy,
)
from ppghost.config.sections import DistillationModel, ExportedTeacher
from ppghost.data import Loader, build_loader
from ppghost.errors import ConfigError, suggest
from ppghost.train import dist
from ppghost.train.amp import check_device
from ppghost.train.distillation import build_distillation_loss, check_labels
from ppghost.train.losses import build_loss
from ppghost.train.schedule import build_schedule
from ppghost.train.stored import check_pictures, check_stored, open_stored, views_of
from ppghost.train.teachers import OtherZoo, Teachers, no_other_zoo
from ppghost.zoo import get_card, list_models

logger = logging.getLogger(__name__)


def open_data(config: Config, *, training: bool) -> Loader:
    """Return the batches of this process from `DataLoader.Train` or `DataLoader.Eval`.

    Raises:
        ConfigError: the configuration has no such section, or its soft labels are of other pictures.
        DataError: list file, pictures, labels or soft labels are missing or wrong.
    """
    name, remedy = ("Train", "training needs it") if training else ("Eval", "evaluation needs it")
    split = getattr(config.DataLoader, name)
    if split is None:
        hint = "" if training else ", or train without evaluation: -o Global.eval_during_train=False"
        raise ConfigError(f"{config.source}: DataLoader.{name} is missing; {remedy}. Add it{hint}.")
    loader = build_loader(
        split,
        seed=config.Global.seed,
        rank=dist.rank(),
        world_size=dist.world_size(),
        epochs=config.Global.epochs,
        class_num=config.shipped.class_num,
        training=training,
        # Unlabelled pictures come from many places; a repeated one is a mistake, no weight for a rare class.
        distinct=training and isinstance(config.Arch, DistillationModel),
        views=views_of(config) if training else None,
    )
    if training:
        check_pictures(config, loader.samples)
    return loader


def check_recipe(config: Config) -> None:
    """Check what training needs beside the data, so that it does not fail after an epoch.

    Raises:
        GhostError: a section is missing, sections do not fit each other or the device, or stored soft labels
            are damaged or do not fit.
    """
    for name, section in (("Loss.Train", config.Loss.Train), ("Optimizer", config.Optimizer)):
        if not section:
            raise ConfigError(f"{config.source}: {name} is missing; training needs it. Add it.")
    check_networks(config)
    check_stored(config)
    check_device(config.AMP, config.Global.device)
    evaluates = config.Global.eval_during_train
    if evaluates and any(isinstance(loss, SoftTargetCrossEntropy) for loss in config.Loss.Eval):
        raise ConfigError(
            f"{config.source}: Loss.Eval: SoftTargetCrossEntropy takes soft labels, but evaluation has class "
            "indexes. Use CELoss there."
        )
    if any(isinstance(spec.lr, ReduceOnPlateau) for spec in config.Optimizer) and not (
        evaluates and config.Metric.Eval
    ):
        raise ConfigError(
            f"{config.source}: Optimizer.lr: ReduceOnPlateau watches the accuracy in evaluation, which this "
            "run does not measure. Set Global.eval_during_train: True and Metric.Eval, or take another one."
        )


def check_networks(config: Config) -> None:
    """Check that losses and metrics read networks that are there.

    Raises:
        ConfigError: a loss or a metric names an unknown network, or goes with one network and there are
            several, or the other way round.
    """
    arch = config.Arch
    if not isinstance(arch, DistillationModel):
        build_loss(config.Loss.Train)
        return
    build_distillation_loss(config.Loss.Train)
    train = config.DataLoader.Train
    check_labels(config.Loss.Train, (train.dataset.batch_transform_ops if train else None) or ())
    names = tuple(arch.members)
    for loss in config.Loss.Train:
        for name in getattr(loss, "model_names", ()):
            if name not in names:
                raise ConfigError(
                    f"{config.source}: Loss.Train: {type(loss).__name__} names the network '{name}'. "
                    f"{suggest(name, names)} The names are those of Arch.models."
                )
    _check_learners(config.source, arch, config.Loss.Train)
    for metric in (*config.Metric.Train, *config.Metric.Eval):
        if isinstance(metric, DistillationTopkAcc) and metric.model_key != arch.infer_model_name:
            raise ConfigError(
                f"{config.source}: Metric: model_key is '{metric.model_key}', but what is measured and "
                f"shipped is Arch.infer_model_name, '{arch.infer_model_name}'. Write that."
            )


def _check_learners(source: str, arch: DistillationModel, losses: Sequence[Any]) -> None:
    """Check that each loss teaches a network that is trained, and that one teaches the network that ships.

    Raises:
        ConfigError: one teaches a frozen network, or none teaches what ships.
    """
    for loss in losses:
        pairs = getattr(loss, "model_name_pairs", ())
        for name in [pair[0] for pair in pairs] or loss.model_names:
            if name in arch.frozen:
                place = "stands in the place of the student, the first of its pair" if pairs else "is named"
                raise ConfigError(
                    f"{source}: Loss.Train: {type(loss).__name__}: '{name}' {place}, but it is frozen and "
                    "learns nothing. Name a network that freeze_params_list does not freeze there."
                )
    taught = {name for loss in losses for name in loss.model_names if name not in arch.frozen}
    if arch.infer_model_name not in taught:
        raise ConfigError(
            f"{source}: Loss.Train: no loss teaches '{arch.infer_model_name}', which infer_model_name ships; "
            "it would stay as it is. Name it in model_name_pairs or model_names, and do not freeze it."
        )


@dataclass(frozen=True)
class Pace:
    """How an epoch is cut into steps and updates.

    Attributes:
        steps: training steps of an epoch, a multiple of `update_freq`.
        update_freq: steps whose gradients make one update.
        total_batch: pictures per update over all processes.
    """

    steps: int
    update_freq: int
    total_batch: int

    @property
    def updates(self) -> int:
        """Updates of an epoch."""
        return self.steps // self.update_freq


def pace_of(config: Config, loader: Loader) -> Pace:
    """Return how the epochs of a run are cut."""
    steps = config.Global.iter_per_epoch or loader.steps_per_epoch
    update_freq = config.Global.update_freq
    if steps < update_freq:
        logger.warning(
            "Global.update_freq is %d but an epoch has %d step(s); every step updates.", update_freq, steps
        )
        update_freq = 1
    assert config.DataLoader.Train is not None, "open_data refuses a configuration without"
    sampler = config.DataLoader.Train.sampler
    per_process = sampler.first_bs if isinstance(sampler, MultiScaleSampler) else sampler.batch_size
    # The other samplers give every process all samples: more processes do not make a larger batch.
    shares = isinstance(sampler, (DistributedBatchSampler, MixSampler, MultiScaleSampler))
    total_batch = per_process * update_freq * (dist.world_size() if shares else 1)
    return Pace(steps // update_freq * update_freq, update_freq, total_batch)


def batch_sentence(config: Config, pace: Pace) -> str:
    """Return a sentence on the total batch, what the recipe assumed, and what to do where they differ."""
    lr = config.Optimizer[0].lr
    assumed = lr.base_total_batch or PUBLISHED_TOTAL_BATCH
    text = (
        f"Total batch: {pace.total_batch} pictures per update ({dist.world_size()} process(es), "
        f"{pace.update_freq} step(s) per update)"
    )
    if lr.auto_scale:
        return (
            f"{text}; Optimizer.lr.auto_scale multiplies the learning rate by {pace.total_batch}/{assumed}."
        )
    if pace.total_batch == assumed:
        return f"{text}, as the recipe assumes."
    origin = "as Optimizer.lr.base_total_batch says" if lr.base_total_batch else "4 cards x 512"
    return (
        f"{text}; the recipe's learning rate is for {assumed} ({origin}). "
        "To scale it linearly: -o Optimizer.lr.auto_scale=True"
    )


def networks_sentences(config: Config) -> list[str]:
    """Return a sentence on the size and cost of each network."""
    arch = config.Arch
    members = arch.members if isinstance(arch, DistillationModel) else {"": arch}
    stored = open_stored(config)
    sentences = []
    for name, member in members.items():
        role = f"{name}: " if name else ""
        state = " (frozen)" if isinstance(arch, DistillationModel) and name in arch.frozen else ""
        if name in stored:
            header = stored[name].header
            sentences.append(
                f"{role}{header.teacher}{state}: stored, {header.kept} of {header.classes} classes, "
                f"{header.views} view(s) of {header.pictures} pictures, {stored[name].path}"
            )
            continue
        if isinstance(member, ExportedTeacher):
            facts = read_artifact(member.folder).facts
            sentences.append(f"{role}{facts.name}{state}: exported, version {facts.version}, {member.folder}")
            continue
        if member.name not in list_models():
            sentences.append(f"{role}{member.name}{state}: of PaddleClas; here {member.class_num} classes")
            continue
        card = get_card(member.name)
        sentences.append(
            f"{role}{card.name}{state}: {card.params:,} parameters and {card.macs / 1e6:.1f} M "
            f"multiply-accumulates at 1000 classes and 224 pixels; here {member.class_num} classes"
        )
    return sentences


def plan(config: Config, other_zoo: OtherZoo = no_other_zoo) -> list[str]:
    """Open a configuration's data and tell, line by line, what training would do.

    Args:
        config: with Train data.
        other_zoo: as in `ppghost.train.run.train`.

    Raises:
        GhostError: the data or the recipe cannot be used.
    """
    check_recipe(config)
    Teachers(config, other_zoo).check()
    settings = config.Global
    loader = open_data(config, training=True)
    pace = pace_of(config, loader)
    for spec in config.Optimizer:
        build_schedule(spec.lr.scaled(pace.total_batch), settings.epochs, pace.updates)
    lines = [
        *networks_sentences(config),
        f"Train: {loader.sample_count} pictures, {pace.steps} steps an epoch, {settings.epochs} epochs, "
        f"{pace.updates * settings.epochs} updates",
        batch_sentence(config, pace),
    ]
    if settings.eval_during_train:
        loader = open_data(config, training=False)
        lines.append(f"Eval: {loader.sample_count} pictures, every {settings.eval_interval} epoch(s)")
    lines.append(f"Device: {settings.device}. Output: {settings.output_dir}. Nothing was trained.")
    return lines
