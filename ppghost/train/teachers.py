"""Teachers that are no networks of ours: exported folders, and networks of another zoo.

An exported folder is frozen by nature and runs in whatever engine it is opened with, on NumPy arrays, beside
Paddle. Most folders give probabilities p. Their logarithms are logits of the same answer: the network's own
differ by one number for each picture, which a softmax does not see, at any temperature. Losses that do see it
are refused.

Networks of another zoo come through a function that the caller hands in: this room knows no other package.

House: imports paddle, the config room, artifacts and how they are opened; not the loop.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Callable, Optional

import numpy as np
import paddle
from paddle import Tensor, nn

from ppghost.artifact import Artifact, read_artifact
from ppghost.config import Config
from ppghost.config.distillation import DistillationDistanceLoss, DistillationDMLLoss
from ppghost.config.loading import parts_of
from ppghost.config.sections import Arch, DistillationModel, ExportedTeacher
from ppghost.errors import ConfigError
from ppghost.export.target import load_target
from ppghost.predict import Predictor
from ppghost.vision.checks import read_number
from ppghost.vision.decode import DecodeImage
from ppghost.vision.normalize import IMAGENET_MEAN, IMAGENET_STD, NormalizeImage
from ppghost.zoo import get_card, list_models
from ppghost.zoo.weights import load_weights, local_weights

logger = logging.getLogger(__name__)

_IMAGENET_CLASSES = 1000

# name -> function(class_num=..., pretrained=..., use_ssld=...) -> network; GhostError for an unknown name.
OtherZoo = Callable[[str], Callable[..., nn.Layer]]


def no_other_zoo(name: str) -> Callable[..., nn.Layer]:
    """Refuse every name, with the near ones of our own.

    Raises:
        GhostError: always.
    """
    get_card(name)
    raise ConfigError(f"{name} is a network of ours; no other zoo is asked for it.")


class Teachers:
    """Checks and opens the teachers of a configuration; a context manager that releases what it opened.

    Args:
        config: Arch, DataLoader, Global and Loss are read.
        other_zoo: finds networks that are not ours, such as `ppghost.plugin.find_theirs`.
    """

    def __init__(self, config: Config, other_zoo: OtherZoo = no_other_zoo) -> None:
        self._config = config
        self._other_zoo = other_zoo
        self._opened = ExitStack()

    def __enter__(self) -> Teachers:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        """Release the predictors."""
        self._opened.close()

    def check(self) -> None:
        """Make sure that the teachers are there and fit; no network is built.

        Raises:
            GhostError: a folder is no artifact or does not fit the configuration, another zoo has no such
                network, or its package is missing.
        """
        arch = self._config.Arch
        if not isinstance(arch, DistillationModel):
            return
        for name, member in arch.members.items():
            if name in arch.stored:
                continue
            if isinstance(member, ExportedTeacher):
                check_exported(self._config, name, read_artifact(member.folder))
            elif name in arch.frozen and is_foreign(member):
                self._other_zoo(member.name)
            if isinstance(member, Arch) and name in arch.frozen:
                self._check_classes(name, member)
            if isinstance(member, Arch) and name in arch.frozen and not (member.pretrained or self._given()):
                logger.warning(
                    "%s is frozen and has no weights: its answers are random. Give them with "
                    "Arch.models...pretrained or Arch.pretrained_list.",
                    name,
                )

    def _check_classes(self, name: str, member: Arch) -> None:
        published = _IMAGENET_CLASSES if is_foreign(member) else get_card(member.name).class_num
        if member.pretrained is True and member.class_num != published and not self._given():
            raise ConfigError(
                f"{self._config.source}: Arch.models: {name} is {member.name} with class_num "
                f"{member.class_num}, but its published weights are for {published} classes: the classifier "
                "of a frozen teacher would stay random. Train it on your classes first, and give those "
                "weights as pretrained."
            )

    def _given(self) -> bool:
        """Say whether a file of all networks gives the weights."""
        return bool(self._config.Global.pretrained_model or self._config.Global.checkpoints)

    def open(self, name: str, member: ExportedTeacher) -> nn.Layer:
        """Return an exported folder as a frozen network.

        Raises:
            GhostError: as `check`, or the folder was changed or its engine is missing.
        """
        artifact = read_artifact(member.folder)
        predictor = load_target(artifact.facts.target).open(artifact, **member.options)
        self._opened.enter_context(predictor)
        return ExportedNetwork(name, artifact, predictor)

    def build(self, member: Arch, *, resuming: bool) -> nn.Layer:
        """Return a network of another zoo, with its weights unless a checkpoint will give them.

        Raises:
            GhostError: it cannot be built, its weights cannot be had or do not fit, or it is no classifier.
        """
        published = member.pretrained is True and not resuming
        options = {key: getattr(member, key) for key in ("dropout", "dropout_prob")}
        try:
            # Names of parameters that Paddle counts up belong to our networks, whatever stands beside them.
            with paddle.utils.unique_name.guard(f"{member.name}_"):
                net = self._other_zoo(member.name)(
                    class_num=member.class_num,
                    pretrained=published,
                    use_ssld=member.use_ssld and published,
                    **{key: value for key, value in options.items() if value is not None},
                )
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(f"Arch.models: {member.name} cannot be built: {error}") from error
        if isinstance(member.pretrained, str) and not resuming:
            source = member.pretrained
            load_weights(net, local_weights(source))
        _check_is_classifier(net, member, self._config.Global.image_shape)
        return net


class ExportedNetwork(nn.Layer):
    """An exported folder behind the face of a network: no parameters, no gradients.

    Args:
        name: what the configuration calls it.
        artifact: the folder.
        predictor: what runs it.
    """

    def __init__(self, name: str, artifact: Artifact, predictor: Predictor) -> None:
        super().__init__()
        self._member = name
        self._shape = tuple(artifact.facts.input_shape)
        self._gives_logits = artifact.facts.output == "logits"
        self._predictor = predictor

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `float32 [N, class_num]` of pictures `float32 [N, 3, H, W]`.

        Raises:
            ConfigError: the pictures are not of the size that the folder was exported for.
        """
        if tuple(images.shape[1:]) != self._shape:
            raise ConfigError(
                f"Arch.models: {self._member} was exported for pictures of {list(self._shape)}, but "
                f"DataLoader.Train gives {list(images.shape[1:])}. Crop to that size, or export it anew with "
                "Global.image_shape."
            )
        answers = self._predictor(images.astype("float32").numpy())
        return paddle.to_tensor(answers if self._gives_logits else logits_of(answers))


def logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Return logits `float32 [N, C]` whose softmax the probabilities are.

    A share that float32 rounded to 0 becomes the smallest normal number: exp(-87.3).
    """
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny), dtype=np.float32)


def is_foreign(member: Arch) -> bool:
    """Say whether a network is none of ours."""
    return member.name not in list_models()


def check_exported(config: Config, name: str, artifact: Artifact) -> None:
    """Make sure that an exported teacher fits a configuration.

    Raises:
        ConfigError: it has other classes, other preprocessing, or a loss needs more than its probabilities.
    """
    where = f"{config.source}: Arch.models: {name} ({artifact.folder})"
    class_num = config.shipped.class_num
    if artifact.facts.class_num != class_num:
        raise ConfigError(
            f"{where} has {artifact.facts.class_num} classes, the student has {class_num}; a student learns "
            "from the answers of a teacher for the same classes."
        )
    if config.Global.to_static:
        raise ConfigError(
            f"{where} runs outside of Paddle, which a static graph cannot contain. Set "
            "-o Global.to_static=False."
        )
    train = config.DataLoader.Train
    sizes = set(train.changing_sizes) if train else set()
    if sizes - {tuple(artifact.facts.input_shape[:0:-1])}:
        told = ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
        raise ConfigError(
            f"{where} was exported for pictures of {list(artifact.facts.input_shape)}, but DataLoader.Train "
            f"changes their size ({told}). Give the teacher as weights, or keep one size."
        )
    for part in parts_of(train.dataset) if train else ():
        _check_levels(where, _levels(artifact.pipeline.ops), _levels(part.transform_ops))
    if artifact.facts.output == "probabilities":
        remedy = "take the teacher's weights instead of its export"
        check_softmax_losses(config, name, f"{where} gives probabilities", remedy)


def _check_levels(where: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Check that a dataset is prepared as an exported teacher was; both as `_levels` returns them.

    Raises:
        ConfigError: it is not.
    """
    for what, value in own.items():
        if not np.allclose(given[what], value, rtol=1e-6, atol=0):
            raise ConfigError(
                f"{where} was exported for pictures with {what} {value}, but DataLoader.Train prepares them "
                f"with {given[what]}; its answers would be of no use. Write the same in both."
            )


def _levels(ops: Sequence[Any]) -> dict[str, Any]:
    """Return how ops turn a picture into numbers: colour order, scale, mean and deviation."""
    decode = next((op for op in ops if isinstance(op, DecodeImage)), DecodeImage())
    found = [op for op in ops if isinstance(op, NormalizeImage)]
    if not found:
        return {"to_rgb": decode.to_rgb, "scale": 1.0, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    [op] = found[:1]
    return {
        "to_rgb": decode.to_rgb,
        "scale": 1.0 / 255.0 if op.scale is None else read_number("NormalizeImage.scale", op.scale),
        "mean": tuple(op.mean or IMAGENET_MEAN),
        "std": tuple(op.std or IMAGENET_STD),
    }


def check_softmax_losses(config: Config, name: str, finding: str, remedy: str) -> None:
    """Check that no loss sees more of a teacher than shares tell.

    Args:
        config: Loss is read.
        name: of the teacher.
        finding: what was found, how the message begins.
        remedy: what else to do than to change the loss.

    Raises:
        ConfigError: one does.
    """
    for loss in config.Loss.Train:
        sees_shift = (isinstance(loss, DistillationDMLLoss) and loss.act == "sigmoid") or (
            isinstance(loss, DistillationDistanceLoss) and loss.act != "softmax"
        )
        if sees_shift and name in loss.model_names:
            raise ConfigError(
                f"{finding}; its logits are known but for a number that is the same for all classes of a "
                f"picture, and {type(loss).__name__} depends on it. Set act: softmax there, or {remedy}."
            )


def _check_is_classifier(net: nn.Layer, member: Arch, image_shape: Sequence[int]) -> None:
    """Run one black picture through a network of another zoo, before the first step does."""
    net.eval()
    with paddle.no_grad():
        output = net(paddle.zeros([1, *image_shape]))
    if not isinstance(output, Tensor) or list(output.shape) != [1, member.class_num]:
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ConfigError(
            f"Arch.models: {member.name} gives {found} for one picture of {list(image_shape)} "
            f"(Global.image_shape); a teacher gives logits of shape [1, {member.class_num}]. Take another."
        )
