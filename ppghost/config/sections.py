"""The sections of a configuration: what each key of a PaddleClas YAML means here, its type and its default.

`ppghost.config.recipe` holds the sections of the training recipe and `ppghost.config.loading` those of the
data; this file holds the others and puts them together. Keys that only serve what is out of scope stand in
`refused_keys` with the sentence that says where they are served.

Ground: no paddle; of ours only the rock, the schema vocabulary and the tables of `ppghost.vision`.
Source: PaddleClas `ppcls/engine/engine.py`, `ppcls/arch/__init__.py`, `ppcls/utils/{logger,profiler}.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional, Union

from ppghost.config.loading import Split, TransformOps, check_decodes, is_progressive
from ppghost.config.reader import MappingNode, Node, Place, SequenceNode, to_plain
from ppghost.config.recipe import AMP, EMA, AnyKeyedOptimizer, AnyLoss, AnyMetric, AnyOptimizer
from ppghost.config.types import (
    Alone,
    ByName,
    Choice,
    ClassNum,
    Fraction,
    Means,
    Named,
    NonNegativeInt,
    PositiveInt,
    Range,
    Refused,
)
from ppghost.vision import POSTPROCESS

_ELSEWHERE = "train that with PaddleClas itself after `ppghost.register()`, and remove the key here."


def _refused(what: str, *harmless: Any) -> Refused:
    return Refused(f"{what} is out of scope here; {_ELSEWHERE}", (None, False, *harmless))


@dataclass(frozen=True)
class Global:
    """What concerns the run as a whole.

    Attributes:
        epochs: how many epochs the whole training has.
        checkpoints: path prefix of a checkpoint to resume from, `output/latest`: all that was saved.
        pretrained_model: path prefix or address of weights to begin with; nothing else is restored.
        output_dir: folder for checkpoints and logs.
        device: where Paddle computes.
        save_interval: epochs between two kept checkpoints `epoch_N`; 0 or less keeps none.
        eval_during_train: evaluate between epochs, and keep the best.
        eval_interval: epochs from one evaluation to the next.
        start_eval_epoch: no evaluation before this epoch.
        print_batch_step: steps from one log line to the next.
        use_visualdl: write scalars for VisualDL to `output_dir`.
        image_shape: [3, height, width] of the network input, for export and `to_static`.
        save_inference_dir: folder for the exported model.
        seed: seed of weights, data order and augmentation; False and null mean 0, as in PaddleClas.
        log_ranks: processes that write log lines.
        update_freq: steps whose gradients are summed up for one update.
        iter_per_epoch: steps in an epoch; None is one pass over the data.
        to_static: train the network as a static graph.
        print_mem_info: add the memory of the device to log lines.
        train_mode: "progressive" trains in four stages of equal length, in which the ops of DataLoader.Train
            take the values of their progress_size and progress_magnitude; None trains in one.
    """

    epochs: PositiveInt
    checkpoints: Optional[str] = None
    pretrained_model: Optional[str] = None
    output_dir: str = "./output/"
    device: Annotated[str, Choice(("cpu", "gpu", "xpu", "npu", "mlu", "ascend", "intel_gpu", "mps"))] = "gpu"
    save_interval: int = 1
    eval_during_train: bool = True
    eval_interval: PositiveInt = 1
    start_eval_epoch: NonNegativeInt = 0
    print_batch_step: PositiveInt = 10
    use_visualdl: bool = False
    image_shape: tuple[Annotated[int, Choice((3,))], PositiveInt, PositiveInt] = (3, 224, 224)
    save_inference_dir: str = "./inference"
    seed: Annotated[int, Range(0, 2**32 - 1), Means((False, None), 0)] = 0
    log_ranks: Annotated[tuple[NonNegativeInt, ...], Alone(NonNegativeInt)] = (0,)
    update_freq: PositiveInt = 1
    iter_per_epoch: Optional[PositiveInt] = None
    to_static: bool = False
    print_mem_info: bool = False
    train_mode: Annotated[Optional[str], Means((False,), None)] = None

    refused_keys: ClassVar[Mapping[str, Refused]] = {
        "eval_mode": _refused("evaluation of retrieval and of faces", "classification"),
        "export_for_fd": Refused(
            "`inference.yml` is always written; write True or False.", (None, False, True)
        ),
        "use_dali": Refused("DALI decodes on the GPU in PaddleClas' own loader; leave it False."),
        "use_multilabel": _refused("several labels per picture"),
        "feature_normalize": _refused("retrieval", True),
        "feature_binarize": _refused("retrieval"),
        "re_ranking": _refused("retrieval"),
        "sim_block_size": _refused("retrieval"),
        "retrieval_feature_from": _refused("retrieval"),
        "warmup_iter": _refused("metabin training"),
        "uniform_output_enabled": Refused(
            "PaddleX's output layout is not written here; leave it False, or train with PaddleClas itself "
            "after `ppghost.register()`."
        ),
        "pdx_model_name": Refused("it names the model for PaddleX, which is not served here; remove it."),
        "hpi_config_path": Refused(
            "it serves PaddleX's inference plugin, which is not served here; remove it."
        ),
        "distributed": Refused(
            "the launcher decides it: python -m paddle.distributed.launch; remove the key."
        ),
        "auto_cast": Refused(
            "write AMP.use_amp=True with AMP.level=O1 for 'amp', or O2 for 'fp16'.", (None, False, "null")
        ),
    }

    def __post_init__(self) -> None:
        for key in ("checkpoints", "pretrained_model"):
            if getattr(self, key) == "":
                raise ValueError(f"{key} is an empty text; write null for none, or a path without its suffix")
        if self.train_mode not in (None, "progressive"):
            raise ValueError(
                f"train_mode is {self.train_mode!r}; accepted: null and progressive. Other procedures "
                f"(fixmatch, fixmatch_ccssl, metabin) are out of scope here; {_ELSEWHERE}"
            )
        if not self.log_ranks:
            raise ValueError("log_ranks is empty; name at least one process, the first is 0")


@dataclass(frozen=True)
class Arch:
    """The network.

    Attributes:
        name: name of a card, as `ppghost.list_models()` gives them.
        class_num: number of classes.
        pretrained: True downloads the published weights; a text is the path or address of weights.
        use_ssld: with `pretrained: True`, take the weights trained by SSLD distillation.
        use_sync_bn: BatchNorm statistics over all processes (many devices).
        dropout: share of the features dropped before the classifier; None is the card's. Not in PaddleClas.
        dropout_prob: the same, as other networks of PaddleClas call it.
        freeze: patterns (`conv1*`, `blocks.[0-4].*`) of parameters that are not trained. Not in PaddleClas.
    """

    name: str
    class_num: ClassNum = 1000
    pretrained: Annotated[Union[bool, str], Means((None,), False)] = False
    use_ssld: bool = False
    use_sync_bn: bool = False
    dropout: Optional[Fraction] = None
    dropout_prob: Optional[Fraction] = None
    freeze: Annotated[tuple[str, ...], Alone(str)] = ()

    refused_keys: ClassVar[Mapping[str, Refused]] = {
        "use_ml_decoder": _refused("a decoder for several labels per picture"),
        "MLDecoder": _refused("a decoder for several labels per picture"),
        "is_rec": _refused("retrieval"),
        "infer_output_key": _refused("a network with several outputs"),
        "infer_add_softmax": Refused(
            "exported classifiers end in softmax here; remove the key.", (None, True)
        ),
        "infer_model_name": _refused("a network made of several"),
        "return_patterns": Refused(
            "features need no announcement here: the key of a DistillationDistanceLoss names the sublayer; "
            "remove it."
        ),
    }

    def __post_init__(self) -> None:
        if self.pretrained == "":
            raise ValueError("pretrained is an empty text; write True, False, or the path of weights")
        if self.use_ssld and not self.pretrained:
            raise ValueError("use_ssld chooses among published weights; set pretrained: True with it")
        if self.dropout is not None and self.dropout_prob is not None:
            raise ValueError("dropout and dropout_prob are two names of one thing; give one of them")

    @property
    def dropped(self) -> Optional[float]:
        """Share of the features dropped before the classifier, by either name; None is the card's."""
        return self.dropout_prob if self.dropout is None else self.dropout


@dataclass(frozen=True)
class NetworkMember(Arch):
    """A network of a `DistillationModel`.

    Attributes:
        soft_labels: a file of answers that `tools/store_soft_labels.py` wrote: they are read instead of the
            network being run, which is not even built; `pretrained` is then what must have answered, and
            False does not say. Not in PaddleClas.
    """

    soft_labels: Optional[str] = None


@dataclass(frozen=True)
class ExportedTeacher:
    """A folder that an export wrote, as a teacher: `{name: artifact, path: inference}`. Not in PaddleClas.

    Attributes:
        name: "artifact".
        path: the folder.
        class_num: how many classes it should have; None does not say.
        engine: what runs it, as `ppghost infer --engine`; None is the folder's usual one.
        threads: how many the engine may use; None takes all processors.
        soft_labels: a file of answers, as in `NetworkMember`; the folder is then what must have answered.
    """

    name: Annotated[str, Choice(("artifact",))]
    path: str
    class_num: Optional[ClassNum] = None
    engine: Optional[str] = None
    threads: Optional[PositiveInt] = None
    soft_labels: Optional[str] = None

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path is an empty text; write the folder that an export wrote")

    @property
    def folder(self) -> Path:
        """The folder."""
        return Path(self.path).expanduser()

    @property
    def options(self) -> dict[str, Any]:
        """The options with which it is opened."""
        named = {"engine": self.engine, "threads": self.threads}
        return {key: value for key, value in named.items() if value is not None}


AnyMember = Union[NetworkMember, ExportedTeacher]
Member = Annotated[AnyMember, ByName({"artifact": ExportedTeacher}, NetworkMember)]


@dataclass(frozen=True)
class DistillationModel:
    """Several networks that see the same pictures: teachers, which are frozen, and students.

    Attributes:
        name: "DistillationModel".
        models: each network under the name that losses call it by. Those that are not trained may be of
            another zoo, exported folders, or stored answers.
        class_num: what `&class_num` points to; each network has its own, and they must be equal.
        pretrained_list: path or address of weights for each network, None for none; before its `pretrained`.
        freeze_params_list: which networks are not trained; None is none.
        infer_model_name: the network that is evaluated and shipped.
        use_sync_bn: BatchNorm statistics over all processes (many devices).
        teacher_train_mode: leave frozen networks in training mode, as PaddleClas does: they normalise with
            the statistics of each batch, and their running statistics drift. Not in PaddleClas.
    """

    name: Annotated[str, Choice(("DistillationModel",))]
    models: tuple[Mapping[str, Member], ...]
    class_num: Optional[ClassNum] = None
    pretrained_list: Annotated[tuple[Optional[str], ...], Means((None,), ())] = ()
    freeze_params_list: Annotated[tuple[bool, ...], Means((None,), ())] = ()
    infer_model_name: str = "Student"
    use_sync_bn: bool = False
    teacher_train_mode: bool = False

    def __post_init__(self) -> None:
        names = [name for entry in self.models for name in entry]
        self._check_names(names)
        for key in ("pretrained_list", "freeze_params_list"):
            if len(getattr(self, key)) not in (0, len(names)):
                raise ValueError(
                    f"{key} has {len(getattr(self, key))} entries for {len(names)} models "
                    f"({', '.join(names)}); give one for each, or null"
                )
        if self.infer_model_name not in names:
            raise ValueError(f"infer_model_name is {self.infer_model_name!r}; models has {', '.join(names)}")
        self._check_exported()
        self._check_stored()
        counts = {name: arch.class_num for name, arch in self.members.items() if arch.class_num is not None}
        if len(set(counts.values())) > 1:
            raise ValueError(
                f"the networks have different numbers of classes, {counts}; a student learns from the "
                "answers of a teacher for the same classes"
            )
        if self.class_num not in (None, *counts.values()):
            raise ValueError(
                f"class_num is {self.class_num}, but the networks say {counts}; write class_num in each"
            )
        if all(name in self.frozen for name in names):
            raise ValueError("freeze_params_list freezes every network; nothing is left to train")

    def _check_names(self, names: list[str]) -> None:
        if not names or len(names) != len(self.models):
            raise ValueError("models takes one network for each entry, as - Student: {name: GhostNet_x1_0}")
        if len(set(names)) < len(names):
            raise ValueError(f"models names a network twice: {', '.join(names)}")
        for name in names:
            if not name.isidentifier():
                raise ValueError(
                    f"models calls a network {name!r}; accepted: letters, digits and _, beginning with no "
                    "digit, because names of weights begin with it"
                )

    def _check_exported(self) -> None:
        for name, arch in self._written().items():
            if not isinstance(arch, ExportedTeacher):
                continue
            position = list(self._written()).index(name)
            if self.pretrained_list and self.pretrained_list[position]:
                raise ValueError(
                    f"{name} is an exported folder, which holds its weights; pretrained_list "
                    "takes null for it"
                )
            if name == self.infer_model_name or not (
                self.freeze_params_list and self.freeze_params_list[position]
            ):
                raise ValueError(
                    f"{name} is an exported folder, which cannot be trained or shipped again; "
                    "freeze_params_list takes True for it, and infer_model_name another network"
                )

    def _check_stored(self) -> None:
        for name, member in self.stored.items():
            if name not in self.frozen or name == self.infer_model_name:
                raise ValueError(
                    f"{name} has soft_labels, stored answers, which cannot be trained or shipped; "
                    "freeze_params_list takes True for it, and infer_model_name another network"
                )
            if not member.soft_labels:
                raise ValueError(f"soft_labels of {name} is an empty text; write null, or the path of a file")
        if self.stored and self.teacher_train_mode:
            raise ValueError(
                f"teacher_train_mode is True, but the answers of {', '.join(self.stored)} are stored, and "
                "were given in evaluation mode; set teacher_train_mode: False, or leave soft_labels out"
            )

    def _written(self) -> dict[str, AnyMember]:
        return {name: arch for entry in self.models for name, arch in entry.items()}

    @property
    def members(self) -> dict[str, AnyMember]:
        """The networks by name, in their order; `pretrained_list` taken in."""
        members = self._written()
        for (name, arch), weights in zip(list(members.items()), self.pretrained_list):
            if weights and isinstance(arch, Arch):
                members[name] = replace(arch, pretrained=weights, use_ssld=False)
        return members

    @property
    def stored(self) -> dict[str, AnyMember]:
        """The networks that are not run, because `soft_labels` names a file of their answers."""
        return {name: member for name, member in self.members.items() if member.soft_labels is not None}

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the networks that are not trained."""
        return tuple(name for name, is_frozen in zip(self.members, self.freeze_params_list) if is_frozen)

    @property
    def shipped(self) -> Arch:
        """The network that is evaluated and shipped."""
        shipped = self.members[self.infer_model_name]
        assert isinstance(shipped, Arch), "an exported folder is not shipped again"
        return shipped


AnyArch = Annotated[Union[Arch, DistillationModel], ByName({"DistillationModel": DistillationModel}, Arch)]

_RETRIEVAL = (
    "it learns feature vectors for retrieval; train it with PaddleClas itself after `ppghost.register()`"
)

REFUSED_ARCHS: Mapping[str, str] = {
    "AttentionModel": "it is trained by AFDLoss, which is not served here; write DistillationModel with "
    "another of its losses",
    "RecModel": _RETRIEVAL,
}


@dataclass(frozen=True)
class Loss:
    """What is minimised, and what is reported in evaluation.

    Attributes:
        Train: the losses whose weighted sum is minimised.
        Eval: the losses computed on evaluation data.
    """

    Train: tuple[AnyLoss, ...] = ()
    Eval: tuple[AnyLoss, ...] = ()


@dataclass(frozen=True)
class Metric:
    """What is measured.

    Attributes:
        Train: on training batches.
        Eval: on evaluation data; the first figure of the first metric decides which model is best.
    """

    Train: tuple[AnyMetric, ...] = ()
    Eval: tuple[AnyMetric, ...] = ()


_RETRIEVAL_SPLIT = _refused("retrieval with a gallery and queries")


@dataclass(frozen=True)
class DataLoader:
    """The pictures.

    Attributes:
        Train: those to learn from; None where absent.
        Eval: those to evaluate on; None where absent.
    """

    Train: Optional[Split] = None
    Eval: Optional[Split] = None

    refused_keys: ClassVar[Mapping[str, Refused]] = {
        "Gallery": _RETRIEVAL_SPLIT,
        "Query": _RETRIEVAL_SPLIT,
        "UnLabelTrain": _refused("semi-supervised training (FixMatch)"),
        "Test": Refused("no program reads it, in PaddleClas neither; write the pictures under Eval."),
    }


_SEVERAL_LABELS = (
    "it reads several labels per picture; predict with PaddleClas itself after `ppghost.register()`"
)

REFUSED_POSTPROCESS: Mapping[str, str] = {
    **dict.fromkeys(
        ("MultiLabelThreshOutput", "VehicleAttribute", "PersonAttribute", "FaceAttribute", "TableAttribute"),
        _SEVERAL_LABELS,
    ),
    "DistillationPostProcess": "it picks a student out of a `DistillationModel`; write Topk",
}


@dataclass(frozen=True)
class Infer:
    """Prediction on pictures without labels.

    Attributes:
        transforms: from the bytes of a file to the network input.
        infer_imgs: a picture, or a folder of them.
        infer_list: a file that lists pictures, one path per line, relative to `infer_imgs`.
        batch_size: pictures per forward pass.
        PostProcess: from probabilities to what is printed.
        save_dir: file for the results.
    """

    transforms: TransformOps
    infer_imgs: Optional[str] = None
    infer_list: Optional[str] = None
    batch_size: PositiveInt = 1
    PostProcess: Annotated[Optional[Any], Named("post-process", POSTPROCESS, REFUSED_POSTPROCESS)] = None
    save_dir: Optional[str] = None

    def __post_init__(self) -> None:
        check_decodes("transforms", self.transforms)


@dataclass(frozen=True)
class ProfilerOptions:
    """When and how Paddle's profiler records the training, `-p "batch_range=[10,20];state=CPU"`.

    Attributes:
        batch_range: first step that is recorded, and the one after the last.
        state: devices that are recorded.
        sorted_key: order of the printed table.
        tracer_option: level of detail.
        profile_path: where the recording is written.
        exit_on_finished: leave the program after the recording.
        timer_only: measure throughput only, no operators.
    """

    batch_range: tuple[NonNegativeInt, NonNegativeInt] = (10, 20)
    state: Annotated[str, Choice(("CPU", "GPU", "All"))] = "All"
    sorted_key: Annotated[str, Choice(("calls", "total", "max", "min", "ave"))] = "total"
    tracer_option: Annotated[str, Choice(("Default", "OpDetail", "AllOpDetail"))] = "Default"
    profile_path: str = "/tmp/profile"
    exit_on_finished: bool = True
    timer_only: bool = True

    def __post_init__(self) -> None:
        if self.batch_range[0] >= self.batch_range[1]:
            raise ValueError(f"batch_range is {list(self.batch_range)}; the second step must be the greater")


@dataclass(frozen=True)
class Sections:
    """The top level of a YAML file. What only one program needs may be absent in the file of another.

    Attributes:
        Global: the run as a whole.
        Arch: the network, or several of which one is shipped.
        AMP: mixed precision; None where the section is absent.
        EMA: averaged weights; None where the section is absent.
        Loss: training and evaluation losses.
        Optimizer: one optimizer, or several with a `scope` each, written as a list.
        DataLoader: training and evaluation pictures.
        Infer: prediction; None where the section is absent.
        Metric: training and evaluation metrics.
        profiler_options: None does not profile.
    """

    Global: Global
    Arch: AnyArch
    AMP: Optional[AMP] = None
    EMA: Optional[EMA] = None
    Loss: Loss = field(default_factory=Loss)
    Optimizer: Annotated[tuple[AnyKeyedOptimizer, ...], Alone(AnyOptimizer)] = ()
    DataLoader: DataLoader = field(default_factory=DataLoader)
    Infer: Optional[Infer] = None
    Metric: Metric = field(default_factory=Metric)
    profiler_options: Optional[ProfilerOptions] = None

    refused_keys: ClassVar[Mapping[str, Refused]] = {
        "Slim": Refused(
            "quantisation and pruning during training do nothing to GhostNet, in PaddleClas neither; remove "
            "the section."
        ),
        "UnLabelLoss": _refused("semi-supervised training (FixMatch)"),
        "SSL": _refused("semi-supervised training (FixMatch)"),
    }

    def __post_init__(self) -> None:
        train, evaluation, infer = self.DataLoader.Train, self.DataLoader.Eval, self.Infer
        if (evaluation and is_progressive(evaluation.dataset)) or (infer and is_progressive(infer)):
            raise ValueError(
                "progress_size and progress_magnitude belong to training; take them out of DataLoader.Eval "
                "and Infer"
            )
        if train and is_progressive(train.dataset) != (self.Global.train_mode == "progressive"):
            raise ValueError(
                "Global.train_mode: progressive and a progress_size or progress_magnitude in "
                "DataLoader.Train's transform_ops need each other; write both or none"
            )


@dataclass(frozen=True)
class Config(Sections):
    """One checked configuration. Nothing writes into it; what depends on it is computed from it.

    Attributes:
        source: the file that it was read from.
        tree: what was written, overrides applied.
    """

    source: str = ""
    tree: MappingNode = field(default=MappingNode({}, Place("")), repr=False, compare=False)

    @property
    def shipped(self) -> Arch:
        """The network that is evaluated, predicts and is exported."""
        return self.Arch.shipped if isinstance(self.Arch, DistillationModel) else self.Arch

    def to_dict(self) -> dict[str, Any]:
        """Return what was written, overrides applied, as plain dicts, lists and scalars."""
        plain: dict[str, Any] = to_plain(self.tree)
        return plain

    def describe(self) -> list[str]:
        """Return the lines of a listing, indented by depth, a rule after each section: for `train.log`."""
        lines: list[str] = []
        for key, node in self.tree.entries.items():
            lines.extend(_listing(key, node, 0))
            if key[:1].isupper():
                lines.append("-" * 60)
        return lines


def _listing(key: str, node: Node, depth: int) -> list[str]:
    indent = " " * depth
    if isinstance(node, MappingNode) and node.entries:
        parts = list(node.entries.items())
    elif isinstance(node, SequenceNode) and any(isinstance(item, MappingNode) for item in node.items):
        parts = [
            part for item in node.items if isinstance(item, MappingNode) for part in item.entries.items()
        ]
    else:
        return [f"{indent}{key} : {to_plain(node)}"]
    return [
        f"{indent}{key} : ",
        *(line for name, child in parts for line in _listing(name, child, depth + 4)),
    ]
