"""A run: from a checked configuration to a trained network with its checkpoints, and to an evaluation.

Everything is built once, in order, under one `unique_name` guard, so that parameter names (the keys of the
optimizer's state) are the same in every run of a configuration.

House: imports the config, data, nets and zoo rooms; neither export nor the plugin.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import paddle
from paddle import nn
from paddle.utils import unique_name

from ppghost.config import Config
from ppghost.config.sections import DistillationModel
from ppghost.errors import ConfigError, GhostError, OutputError, TrainingError, WeightsError
from ppghost.train import dist
from ppghost.train.amp import MixedPrecision
from ppghost.train.checkpoint import (
    Checkpoint,
    Position,
    read_checkpoint,
    recover,
    recover_all,
    sole_writer,
    write_checkpoint,
)
from ppghost.train.ema import Ema
from ppghost.train.estimate import Cost, measure
from ppghost.train.log import Meters, epoch_line
from ppghost.train.loop import Evaluation, Interrupted, Learner, Reporter, Silent, evaluate
from ppghost.train.losses import build_loss
from ppghost.train.metrics import build_metrics
from ppghost.train.networks import broken_weights, build_finished_net, build_task, own_weights
from ppghost.train.optim import build_optimizers, load_states
from ppghost.train.plan import batch_sentence, check_recipe, open_data, pace_of, plan
from ppghost.train.profile import StepProfiler
from ppghost.train.teachers import OtherZoo, Teachers, no_other_zoo
from ppghost.zoo.weights import load_weights

logger = logging.getLogger(__name__)

__all__ = ["TrainResult", "estimate", "evaluate_config", "plan", "prepare_device", "train"]


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        position: where it stands.
        output_dir: where its checkpoints are.
        interrupted: the user stopped it before its last epoch.
    """

    position: Position
    output_dir: Path
    interrupted: bool = False


def train(
    config: Config,
    *,
    reporter: Optional[Reporter] = None,
    should_stop: Callable[[], bool] = lambda: False,
    other_zoo: OtherZoo = no_other_zoo,
    resume: bool = False,
) -> TrainResult:
    """Train as the configuration says, from the start or from `Global.checkpoints`.

    Writes `latest`, `best_model` and `epoch_N` into `Global.output_dir`. Changes the process' device, random
    state and parameter name counters.

    Args:
        config: with Train data; Eval data where `eval_during_train` is on.
        reporter: where lines, progress and curves go; None for nowhere.
        should_stop: asked after every update; True saves and ends the run.
        other_zoo: finds teachers that are no networks of ours, such as `ppghost.plugin.find_theirs`.
        resume: go on from `latest` in the output folder where it is there, else begin.

    Raises:
        GhostError: anything the user can mend: the data, the weights, the output folder, a loss that is not
            finite.
    """
    with unique_name.guard(), Teachers(config, other_zoo) as teachers:
        run = _Run(config, reporter or Silent(), should_stop, teachers, resume=resume)
        # One process writes for all.
        with sole_writer(run.output_dir) if dist.rank() == 0 else nullcontext():
            return run.fit()


def estimate(config: Config, *, other_zoo: OtherZoo = no_other_zoo) -> Cost:
    """Measure some steps of a run and return what all of it would cost. Writes nothing into `output_dir`.

    Args:
        config: as for `train`.
        other_zoo: as for `train`.

    Raises:
        GhostError: anything that `train` would raise before its first step, or in its first ones.
    """
    with unique_name.guard(), Teachers(config, other_zoo) as teachers:
        return measure(_Run(config, Silent(), lambda: False, teachers))


def evaluate_config(config: Config, *, reporter: Optional[Reporter] = None) -> Evaluation:
    """Evaluate `Global.pretrained_model` (or the architecture's pretrained weights) on the Eval data.

    Raises:
        GhostError: anything the user can mend.
    """
    with unique_name.guard():
        prepare_device(config)
        net = build_finished_net(config)
        amp = MixedPrecision(config.AMP, config.Global.device)
        amp.prepare(net)
        return _Evaluator(config, reporter or Silent(), amp)(net, epoch=0)


def prepare_device(config: Config) -> None:
    """Set Paddle's device and join the other processes.

    Raises:
        ConfigError: this Paddle was not built for the device.
    """
    device = config.Global.device
    try:
        paddle.set_device(device)
        _disable_paddles_handlers()
    except (ValueError, RuntimeError, OSError) as error:
        raise ConfigError(
            f"Global.device is '{device}', which this Paddle {paddle.__version__} cannot use: {error}. "
            "Use -o Global.device=cpu, or install the paddlepaddle package for the device."
        ) from error
    dist.init()


def _disable_paddles_handlers() -> None:
    """Take Paddle's handlers of signals away: they dump a C++ stack where a user stops a program.

    With them Paddle takes away that of SIGTERM that a program has set; it is set again.
    """
    ours = signal.getsignal(signal.SIGTERM)
    paddle.disable_signal_handler()
    if ours is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ours)


class _Evaluator:
    """The Eval half of a configuration, built once and used after every epoch."""

    def __init__(self, config: Config, reporter: Reporter, amp: MixedPrecision) -> None:
        if not (config.Loss.Eval or config.Metric.Eval):
            raise ConfigError(
                f"{config.source}: Metric.Eval and Loss.Eval are both missing; evaluation has nothing to "
                "measure. Add Metric.Eval: [{TopkAcc: {topk: [1, 5]}}]."
            )
        self.loader = open_data(config, training=False)
        self.loss = build_loss(config.Loss.Eval) if config.Loss.Eval else None
        self.metrics = build_metrics(config.Metric.Eval) if config.Metric.Eval else None
        self.print_batch_step = config.Global.print_batch_step
        self.reporter = reporter
        self.amp = amp

    def __call__(self, net: nn.Layer, epoch: int) -> Evaluation:
        dist.share_buffers(net)  # what is judged is what is saved
        result = evaluate(
            net,
            self.loader,
            loss=self.loss,
            metrics=self.metrics,
            amp=self.amp,
            epoch=epoch,
            print_batch_step=self.print_batch_step,
            reporter=self.reporter,
        )
        self.reporter.line(epoch_line("Eval", str(epoch), result.text))
        return result


class _Run:
    """What `train` builds, and the walk over its epochs."""

    def __init__(
        self,
        config: Config,
        reporter: Reporter,
        should_stop: Callable[[], bool],
        teachers: Teachers,
        *,
        resume: bool = False,
    ) -> None:
        settings = config.Global
        self.config = config
        self.reporter = reporter
        self.output_dir = Path(settings.output_dir).expanduser()
        check_recipe(config)
        teachers.check()
        prepare_device(config)
        self.check_output()
        self.finish_commits()
        self.checkpoint = self.find_checkpoint(resume=resume)
        self.loader = open_data(config, training=True)
        self.pace = pace_of(config, self.loader)
        amp = MixedPrecision(config.AMP, settings.device)
        self.evaluator = _Evaluator(config, reporter, amp) if settings.eval_during_train else None
        paddle.seed(settings.seed)
        task = build_task(config, self.wrapped, teachers, resuming=self.checkpoint is not None)
        net = task.trainable()
        reporter.line(batch_sentence(config, self.pace))
        optimizers, schedules = build_optimizers(
            config.Optimizer, settings.epochs, self.pace.updates, net, self.pace.total_batch
        )
        amp.prepare(net, optimizers)
        constant = config.Arch.frozen if isinstance(config.Arch, DistillationModel) else ()
        self.ema = Ema(net, decay=config.EMA.decay, constant=constant) if config.EMA else None
        self.profiler = profiler = StepProfiler(config.profiler_options) if config.profiler_options else None
        self.learner = Learner(
            task=task,
            optimizers=optimizers,
            schedules=schedules,
            amp=amp,
            ema=self.ema,
            metrics=self.train_metrics(),
            update_freq=self.pace.update_freq,
            seed=settings.seed,
            print_batch_step=settings.print_batch_step,
            reporter=reporter,
            should_stop=lambda: should_stop() or bool(profiler and profiler.is_finished),
            tick=profiler or (lambda: None),
            memory=gpu_memory if settings.print_mem_info else lambda: "",
        )
        self.net = net
        self.task = task
        self.position = Position(
            arch=config.Arch.name,
            class_num=config.shipped.class_num,
            world_size=dist.world_size(),
            steps=self.pace.steps,
            ema=self.ema is not None,
        )
        if self.checkpoint:
            self.resume(self.checkpoint, read_checkpoint(self.checkpoint, ema=self.ema is not None))
        self.check_common_start()

    # ------------------------------------------------------------------------------------- building

    def check_output(self) -> None:
        """Find out before training whether the output folder can be written."""
        probe = self.output_dir / f".probe.{os.getpid()}"
        try:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink(missing_ok=True)  # machines that share the folder may have equal ids
        except OSError as error:
            raise OutputError(
                f"Global.output_dir is '{self.output_dir}', which cannot be written: {error.strerror}. "
                "Choose another folder: -o Global.output_dir=..."
            ) from error

    def finish_commits(self) -> None:
        """Finish what a kill interrupted: one process does, before any reads."""
        if dist.rank() == 0:
            recover_all(self.output_dir)
            if self.config.Global.checkpoints:
                prefix = Path(self.config.Global.checkpoints).expanduser()
                recover(prefix.parent, prefix.name)
        dist.barrier()

    def train_metrics(self) -> Any:
        """Return the metrics of training batches; none where labels are mixed, as in PaddleClas."""
        config = self.config
        if not config.Metric.Train:
            return None
        train = config.DataLoader.Train
        if train and train.dataset.batch_transform_ops:
            logger.warning("Metric.Train is not counted: batch_transform_ops mixes the labels.")
            return None
        return build_metrics(config.Metric.Train)

    def wrapped(self, net: nn.Layer) -> nn.Layer:
        """Return the network as a step calls it: compiled, or spread over processes, where asked for."""
        if self.config.Global.to_static:
            paddle.jit.to_static(net)
        return paddle.DataParallel(net) if dist.world_size() > 1 else net

    # ------------------------------------------------------------------------------------- resuming

    def find_checkpoint(self, *, resume: bool) -> Optional[str]:
        """Return the prefix of what to go on from; None begins.

        Raises:
            ConfigError: `resume` and `Global.checkpoints` both say it.
        """
        given = self.config.Global.checkpoints
        if not resume:
            return given
        latest = self.output_dir / "latest"
        if given:
            raise ConfigError(
                f"--resume goes on from {latest}, but Global.checkpoints is '{given}'. Give one of the two."
            )
        # One file is enough: what is incomplete shall be told, not overwritten.
        if any(self.output_dir.glob("latest.pd*")):
            return str(latest)
        self.reporter.line(f"--resume: there is no checkpoint {latest} yet; the training begins")
        return None

    def check_common_start(self) -> None:
        """Make sure that all processes go on from the same place."""
        position = self.position
        if not dist.is_same_everywhere([position.epoch, position.step, position.global_step]):
            raise ConfigError(
                f"The processes do not start at the same place: number {dist.rank()} has "
                f"{position.epoch} epoch(s) and {position.step} step(s) behind it, others have not. Every "
                "machine must see the same checkpoint: let Global.output_dir be a folder that all share."
            )

    def resume(self, name: str, checkpoint: Checkpoint) -> None:
        """Put a checkpoint, read from the prefix `name`, into everything that was built."""
        position, present = checkpoint.position, self.position
        if position.arch and (position.arch, position.class_num) != (present.arch, present.class_num):
            raise GhostError(
                f"The checkpoint {name} is of {position.arch} with {position.class_num} classes; the "
                f"configuration says {present.arch} with {present.class_num}. Resume with the "
                "same Arch; to start anew from its weights use -o Global.pretrained_model=... and another "
                "Global.output_dir instead of Global.checkpoints or --resume."
            )
        try:
            load_weights(self.net, checkpoint.params)
        except WeightsError as error:
            raise WeightsError(
                f"The checkpoint {name} is of other networks than the configuration's ({error}). Resume "
                "with the Arch that wrote it, soft_labels of teachers included, or choose another "
                "Global.output_dir."
            ) from error
        load_states(self.learner.optimizers, checkpoint.optimizers, f"{name}.pdopt")
        if self.ema and checkpoint.ema is not None:
            self.ema.load_state_dict(checkpoint.ema)
        if position.scaler:
            self.learner.amp.load_state_dict(position.scaler)
        if position.step and (position.world_size, position.steps) != (present.world_size, present.steps):
            logger.warning(
                "%s was saved inside epoch %d, which %d process(es) cut into %d steps; with %d and %d the "
                "epoch begins again.",
                name,
                position.epoch + 1,
                position.world_size,
                position.steps,
                present.world_size,
                present.steps,
            )
            position = dataclasses.replace(position, step=0)
        self.position = dataclasses.replace(
            position,
            arch=present.arch,
            class_num=present.class_num,
            world_size=present.world_size,
            steps=present.steps,
            ema=present.ema,
        )
        self.learner.global_step = position.global_step or position.epoch * self.pace.steps
        self.reporter.line(
            f"Resumed from {name}: {position.epoch} epoch(s) and {position.step} step(s) are done"
        )

    # -------------------------------------------------------------------------------------- walking

    def fit(self) -> TrainResult:
        """Train the epochs that are left."""
        epochs = self.config.Global.epochs
        if self.position.epoch >= epochs:
            self.reporter.line(
                f"Nothing is left to train: {self.position.epoch} epoch(s) are done, Global.epochs is "
                f"{epochs}. To train longer: -o Global.epochs=..."
            )
        for epoch in range(self.position.epoch + 1, epochs + 1):
            try:
                meters = self.learner.train_epoch(
                    self.loader, epoch, epochs, self.pace.steps, self.position.step
                )
            except Interrupted as stop:
                self.move(step=stop.step)
                self.save("latest")
                return TrainResult(self.position, self.output_dir, interrupted=True)
            self.close_epoch(epoch, meters)
            if epoch < epochs and self.learner.is_asked_to_stop():
                return TrainResult(self.position, self.output_dir, interrupted=True)
        if self.profiler:
            self.profiler.close()
        return TrainResult(self.position, self.output_dir)

    def close_epoch(self, epoch: int, meters: Meters) -> None:
        """Evaluate and save at the end of an epoch."""
        settings = self.config.Global
        self.reporter.line(epoch_line("Train", f"{epoch}/{settings.epochs}", meters.averages()))
        self.say_skipped(epoch)
        self.check_weights(epoch)
        self.move(epoch=epoch, step=0, metric=0.0)
        due = epoch % settings.eval_interval == 0 and epoch >= settings.start_eval_epoch
        if self.evaluator and due:
            try:
                self.judge(epoch)
            except BaseException:
                # The epoch is trained; neither a broken picture nor a second Ctrl-C shall cost it.
                self.write("latest")
                raise
        if settings.save_interval > 0 and epoch % settings.save_interval == 0:
            self.save(f"epoch_{epoch}")
        self.save("latest")

    def check_weights(self, epoch: int) -> None:
        """Make sure that no broken weights overwrite good ones: the last gradient may be what broke them."""
        broken = broken_weights(self.net)
        if broken:
            raise TrainingError(
                f"After epoch {epoch}, {len(broken)} weights are NaN or infinite, the first is {broken[0]}. "
                "Nothing was saved; the checkpoints of the epochs before are untouched. Usual cause: a "
                "learning rate too high for the batch size."
            )

    def judge(self, epoch: int) -> None:
        """Evaluate, keep the best, and let schedules that watch the metric know."""
        assert self.evaluator is not None
        score = self.evaluator(self.task.eval_net(), epoch).score
        for schedule in self.learner.schedules:
            if isinstance(schedule, paddle.optimizer.lr.ReduceOnPlateau):
                schedule.step(score)
        best = max(self.position.best_metric, self.position.best_metric_ema)
        if score >= self.position.best_metric:
            self.move(best_metric=score, best_epoch=epoch)
        self.reporter.line(f"[Eval][Epoch {epoch}][best metric: {self.position.best_metric}]")
        self.reporter.scalar("eval_acc", score, epoch)
        if self.ema:
            with self.ema.applied(self.net):
                averaged = self.evaluator(self.task.eval_net(), epoch).score
            self.move(best_metric_ema=max(averaged, self.position.best_metric_ema))
            self.reporter.line(f"[Eval][Epoch {epoch}][best metric ema: {self.position.best_metric_ema}]")
            self.reporter.scalar("eval_acc_ema", averaged, epoch)
            score = max(score, averaged)
        self.move(metric=score)
        if score >= best:
            self.save("best_model")

    def move(self, **changes: Any) -> None:
        """Move the position."""
        changes.setdefault("global_step", self.learner.global_step)
        changes.setdefault("scaler", self.learner.amp.state_dict() or None)
        self.position = dataclasses.replace(self.position, **changes)

    def save(self, name: str) -> None:
        """Write one checkpoint; no process goes on before it is there."""
        self.write(name)
        dist.barrier()

    def write(self, name: str) -> None:
        """Write one checkpoint, from the first process alone; the others do not wait."""
        if dist.rank() == 0:
            params = self.net.state_dict()
            files: dict[str, Any] = {
                f"{name}.pdparams": self.ema.state_dict() if self.ema else params,
                f"{name}.pdopt": [optimizer.state_dict() for optimizer in self.learner.optimizers],
                f"{name}.pdstates": self.position.to_states(),
            }
            if self.ema:
                files[f"{name}.pdema"] = params
            if name == "best_model":
                files.update(self.shipped_files(files["best_model.pdparams"]))
            prefix = write_checkpoint(self.output_dir, name, files)
            self.reporter.line(f"Already save model in {prefix}")

    def shipped_files(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the files that hold the weights of the network that is shipped, by PaddleClas' names."""
        arch = self.config.Arch
        if not isinstance(arch, DistillationModel):
            return {"best_model/model.pdparams": params}
        own = own_weights(params, arch.infer_model_name)
        return {
            f"best_model_{arch.infer_model_name.lower()}.pdparams": own,
            "best_model/model.pdparams": own,
        }

    def say_skipped(self, epoch: int) -> None:
        """Tell which pictures could not be read in the epoch."""
        skipped = self.learner.skipped
        if skipped:
            shown = "; ".join(f"{path}: {reason}" for path, reason in list(skipped.items())[:3])
            count = f"{len(skipped)} picture(s) could not be read and were left out"
            self.reporter.line(f"[Train][Epoch {epoch}] {count}: {shown}")


def gpu_memory() -> str:
    """Return PaddleClas' memory fields, empty without a GPU."""
    if not paddle.device.is_compiled_with_cuda():
        return ""
    reserved = paddle.device.cuda.max_memory_reserved() / 2**20
    allocated = paddle.device.cuda.max_memory_allocated() / 2**20
    return f", max_mem_reserved: {reserved:.2f} MB, max_mem_allocated: {allocated:.2f} MB"
