"""What a configuration will do, found out before it does: its data, the length of an epoch, the batch.

House: imports the config and data rooms and the cards; builds no network.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ppghost.config import Config
from ppghost.config.loading import DistributedBatchSampler, MixSampler, MultiScaleSampler
from ppghost.config.recipe import PUBLISHED_TOTAL_BATCH, ReduceOnPlateau, SoftTargetCrossEntropy
from ppghost.data import Loader, build_loader
from ppghost.errors import ConfigError
from ppghost.train import dist
from ppghost.train.amp import check_device
from ppghost.train.schedule import build_schedule
from ppghost.zoo import get_card

logger = logging.getLogger(__name__)


def open_data(config: Config, *, training: bool) -> Loader:
    """Return the batches of this process from `DataLoader.Train` or `DataLoader.Eval`.

    Raises:
        ConfigError: the configuration has no such section.
        DataError: list file, pictures or labels are missing or wrong.
    """
    name, remedy = ("Train", "training needs it") if training else ("Eval", "evaluation needs it")
    split = getattr(config.DataLoader, name)
    if split is None:
        hint = "" if training else ", or train without evaluation: -o Global.eval_during_train=False"
        raise ConfigError(f"{config.source}: DataLoader.{name} is missing; {remedy}. Add it{hint}.")
    return build_loader(
        split,
        seed=config.Global.seed,
        rank=dist.rank(),
        world_size=dist.world_size(),
        epochs=config.Global.epochs,
        class_num=config.Arch.class_num,
        training=training,
    )


def check_recipe(config: Config) -> None:
    """Check what training needs beside the data, so that it does not fail after an epoch.

    Raises:
        ConfigError: a section is missing, or sections do not fit each other or the device.
    """
    for name, section in (("Loss.Train", config.Loss.Train), ("Optimizer", config.Optimizer)):
        if not section:
            raise ConfigError(f"{config.source}: {name} is missing; training needs it. Add it.")
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


def plan(config: Config) -> list[str]:
    """Open a configuration's data and tell, line by line, what training would do.

    Raises:
        GhostError: the data or the recipe cannot be used.
    """
    check_recipe(config)
    card, settings = get_card(config.Arch.name), config.Global
    loader = open_data(config, training=True)
    pace = pace_of(config, loader)
    for spec in config.Optimizer:
        build_schedule(spec.lr.scaled(pace.total_batch), settings.epochs, pace.updates)
    lines = [
        f"{card.name}: {card.params:,} parameters and {card.macs / 1e6:.1f} M multiply-accumulates at 1000 "
        f"classes and 224 pixels; here {config.Arch.class_num} classes",
        f"Train: {loader.sample_count} pictures, {pace.steps} steps an epoch, {settings.epochs} epochs, "
        f"{pace.updates * settings.epochs} updates",
        batch_sentence(config, pace),
    ]
    if settings.eval_during_train:
        loader = open_data(config, training=False)
        lines.append(f"Eval: {loader.sample_count} pictures, every {settings.eval_interval} epoch(s)")
    lines.append(f"Device: {settings.device}. Output: {settings.output_dir}. Nothing was trained.")
    return lines
