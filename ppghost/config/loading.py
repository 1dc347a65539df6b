"""The DataLoader section of a PaddleClas configuration: what datasets, samplers and loaders accept.

Every dataclass carries the YAML name and the YAML keys of the PaddleClas class that it stands for
(`ppcls/data`); `ppghost.data` gives them their behaviour. What serves retrieval, re-identification, faces,
several labels per picture or semi-supervised training is known by name and refused with a sentence.

Ground: no paddle; of ours only the rock, the schema vocabulary and the tables of `ppghost.vision`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Optional, Union

from ppghost.config.types import Choice, Fraction, Keyed, Named, NonNegativeInt, PositiveInt, Refused
from ppghost.registry import Registry
from ppghost.vision import BATCH_OPS, OPS, REFUSED_OPS
from ppghost.vision.decode import DecodeImage
from ppghost.vision.geometry import CropImage, RandCropImage, RandomRot90, ResizeImage
from ppghost.vision.stages import progress_of


def _served_by_paddleclas(purpose: str) -> str:
    """Return the sentence that refuses a component which serves `purpose`."""
    return (
        f"it serves {purpose}, and ppghost trains classifiers with one label per picture. "
        "Use PaddleClas' own engine with our networks: call `ppghost.register()` before it builds its model."
    )


DATASETS: Registry[type] = Registry("dataset")
SAMPLERS: Registry[type] = Registry("sampler")

REFUSED_DATASETS: dict[str, str] = {
    name: _served_by_paddleclas(purpose)
    for purpose, names in {
        "pictures with several labels": ("MultiLabelDataset", "MLClsDataset"),
        "retrieval": ("ShiTuRecDataset", "LogoDataset", "ICartoonDataset", "CompCars", "VeriWild"),
        "re-identification": ("Market1501", "MSMT17", "DukeMTMC"),
        "face recognition": ("FiveValidationDataset", "AdaFaceDataset"),
    }.items()
    for name in names
}

REFUSED_SAMPLERS: dict[str, str] = {
    name: _served_by_paddleclas("metric learning with batches drawn by identity")
    for name in (
        "DistributedRandomIdentitySampler",
        "PKSampler",
        "DomainShuffleBatchSampler",
        "NaiveIdentityBatchSampler",
    )
}

TransformOps = tuple[Annotated[Any, Keyed("transform op", OPS, REFUSED_OPS)], ...]
BatchTransformOps = tuple[Annotated[Any, Keyed("batch transform op", BATCH_OPS, {})], ...]


def check_decodes(key: str, ops: tuple[Any, ...]) -> None:
    """Check that the first of the ops under `key` turns the bytes of a file into a picture.

    Raises:
        ValueError: it does not.
    """
    if not ops or not isinstance(ops[0], DecodeImage):
        raise ValueError(f"{key} must begin with DecodeImage, because pictures are read as files")


def _check_listed(dataset: Any) -> None:
    """Check what all datasets of a list file have in common.

    Raises:
        ValueError: pictures are not decoded, or the delimiter parts nothing.
    """
    check_decodes("transform_ops", dataset.transform_ops)
    if dataset.delimiter == "":
        raise ValueError("delimiter must not be empty; leave it out for the usual one")


@DATASETS.add("ImageNetDataset")
@DATASETS.add("ClsDataset")
@dataclass(frozen=True)
class ImageNetDataset:
    """Pictures named by a list file with one `path<delimiter>label` per line.

    Attributes:
        image_root: folder that the paths of the list start from.
        cls_label_path: the list file.
        transform_ops: what happens to one picture.
        batch_transform_ops: what happens to one batch; its labels become distributions.
        delimiter: what parts path and label; None is one blank.
        relabel: number the labels of the list 0, 1, 2... in ascending order.
    """

    image_root: str
    cls_label_path: str
    transform_ops: TransformOps
    batch_transform_ops: Optional[BatchTransformOps] = None
    delimiter: Optional[str] = None
    relabel: bool = False

    def __post_init__(self) -> None:
        _check_listed(self)


RESIZED_OPS = (RandCropImage, ResizeImage, CropImage)
"""The ops that take the size of the batch."""


@DATASETS.add("MultiScaleDataset")
@dataclass(frozen=True)
class MultiScaleDataset:
    """The same pictures as `ImageNetDataset`, in the size that `MultiScaleSampler` picks for each batch.

    The size takes the place of `size` in each RandCropImage, ResizeImage and CropImage of `transform_ops`.
    """

    image_root: str
    cls_label_path: str
    transform_ops: TransformOps
    batch_transform_ops: Optional[BatchTransformOps] = None
    delimiter: Optional[str] = None

    def __post_init__(self) -> None:
        _check_listed(self)
        if not any(isinstance(op, RESIZED_OPS) for op in self.transform_ops):
            names = " or ".join(op.__name__ for op in RESIZED_OPS)
            raise ValueError(f"transform_ops has no op that takes the batch's size; add {names}")
        if any(map(progress_of, self.transform_ops)):
            raise ValueError(
                "MultiScaleSampler sets the size of each batch, and so does progress_size; keep one of them"
            )


ORIENTATION_KEY = "random_rot90_orientation"


@DATASETS.add("CustomLabelDataset")
@dataclass(frozen=True)
class CustomLabelDataset:
    """Pictures without labels; the label is what a random transform op did to the picture.

    Attributes:
        image_root: folder that the paths of the list start from.
        sample_list_path: list file with one path per line.
        label_key: `random_rot90_orientation`, the quarter turns 0 to 3 that RandomRot90 drew.
        transform_ops: what happens to one picture; with a RandomRot90.
        batch_transform_ops: what happens to one batch.
        delimiter: what ends the path in a line; None takes the whole line.
    """

    image_root: str
    sample_list_path: str
    transform_ops: TransformOps
    label_key: Annotated[str, Choice((ORIENTATION_KEY,))]
    batch_transform_ops: Optional[BatchTransformOps] = None
    delimiter: Optional[str] = None

    def __post_init__(self) -> None:
        _check_listed(self)
        if sum(isinstance(op, RandomRot90) for op in self.transform_ops) != 1:
            raise ValueError(f"label_key {ORIENTATION_KEY} needs exactly one RandomRot90 in transform_ops")


@dataclass(frozen=True)
class _Cifar:
    """What the two CIFAR sets have in common.

    Attributes:
        data_file: the `cifar-*-python.tar.gz`; None is Paddle's cache, filled on demand.
        mode: which half.
        download: fetch the file when data_file is None and the cache is empty.
        backend: pil hands uint8 pictures to the ops, cv2 float32 ones with the same values.
        sample_per_label: how many pictures to draw from each class; None keeps all.
        expand_labels: how many times the drawn pictures are listed.
        transform_ops: what happens to one picture; nothing has to be decoded.
        batch_transform_ops: what happens to one batch.
    """

    data_file: Optional[str] = None
    mode: Annotated[str, Choice(("train", "test"))] = "train"
    download: bool = True
    backend: Annotated[str, Choice(("pil", "cv2"))] = "cv2"
    sample_per_label: Optional[PositiveInt] = None
    expand_labels: PositiveInt = 1
    transform_ops: TransformOps = ()
    batch_transform_ops: Optional[BatchTransformOps] = None

    refused_keys: ClassVar[Mapping[str, Refused]] = dict.fromkeys(
        ("transform_ops_weak", "transform_ops_strong", "transform_ops_strong2"),
        Refused(_served_by_paddleclas("semi-supervised training (FixMatch)")),
    )

    def __post_init__(self) -> None:
        if self.data_file is None and not self.download:
            raise ValueError("data_file is not given and download is False; give one of them")
        if not self.transform_ops:
            raise ValueError("transform_ops is missing; at least NormalizeImage belongs there")


@DATASETS.add("Cifar10")
@dataclass(frozen=True)
class Cifar10(_Cifar):
    """The CIFAR-10 pictures from their published Python archive."""


@DATASETS.add("Cifar100")
@dataclass(frozen=True)
class Cifar100(_Cifar):
    """The CIFAR-100 pictures with their fine labels from their published Python archive."""

    backend: Annotated[str, Choice(("pil", "cv2"))] = "pil"


@DATASETS.add("MixDataset")
@dataclass(frozen=True)
class MixDataset:
    """Several datasets one after the other.

    Attributes:
        datasets_config: the datasets, each written with its name.
        batch_transform_ops: what happens to one batch.
    """

    datasets_config: tuple[Annotated[Any, Named("dataset", DATASETS, REFUSED_DATASETS)], ...]
    batch_transform_ops: Optional[BatchTransformOps] = None

    def __post_init__(self) -> None:
        if not self.datasets_config:
            raise ValueError("datasets_config is empty; list at least one dataset")
        for dataset in self.datasets_config:
            if dataset.batch_transform_ops:
                raise ValueError(
                    "batch_transform_ops belongs beside datasets_config, not inside: a batch is mixed"
                )
        if any(isinstance(dataset, MultiScaleDataset) for dataset in self.datasets_config):
            raise ValueError("MultiScaleDataset cannot be mixed: its sampler serves one dataset")


def parts_of(dataset: Any) -> tuple[Any, ...]:
    """Return the datasets of a mix, or the dataset itself."""
    return dataset.datasets_config if isinstance(dataset, MixDataset) else (dataset,)


def transform_ops_of(dataset: Any) -> Iterator[Any]:
    """Yield the ops of a dataset, those of the parts of a mix one after the other."""
    for part in parts_of(dataset):
        yield from getattr(part, "transform_ops", ())


def is_progressive(dataset: Any) -> bool:
    """Say whether an op of a dataset changes from stage to stage of a training."""
    return any(map(progress_of, transform_ops_of(dataset)))


@SAMPLERS.add("DistributedBatchSampler")
@dataclass(frozen=True)
class DistributedBatchSampler:
    """Each process takes its share of every batch of `batch_size` x processes samples."""

    batch_size: PositiveInt
    shuffle: bool = False
    drop_last: bool = False


@SAMPLERS.add("BatchSampler")
@dataclass(frozen=True)
class BatchSampler:
    """One process takes all samples; this is also what a sampler without a name means."""

    batch_size: PositiveInt = 1
    shuffle: bool = False
    drop_last: bool = False


@SAMPLERS.add("MultiScaleSampler")
@dataclass(frozen=True)
class MultiScaleSampler:
    """Batches of varying picture size and about the same number of pixels.

    Attributes:
        scales: sizes in pixels, each one side or (width, height).
        first_bs: batch size for the first of the scales.
        divided_factor: sizes are rounded down to a multiple of it.
        is_training: False takes the first scale only.
        shuffle: shuffle the samples in each epoch.
        seed: takes the place of `Global.seed` in shuffling and in drawing the sizes.
    """

    scales: tuple[Union[PositiveInt, tuple[PositiveInt, PositiveInt]], ...]
    first_bs: PositiveInt
    divided_factor: PositiveInt = 32
    is_training: bool = True
    shuffle: bool = True
    seed: Optional[int] = None

    def __post_init__(self) -> None:
        if not self.scales:
            raise ValueError("scales is empty; list at least one size")
        if len({isinstance(scale, int) for scale in self.scales}) > 1:
            raise ValueError("scales mixes numbers and (width, height) pairs; write them all in one way")
        for width, height in self.sizes:
            if min(width, height) < self.divided_factor:
                raise ValueError(
                    f"scale {width} x {height} is less than divided_factor {self.divided_factor}"
                )

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The scales as (width, height) pairs, not rounded."""
        return tuple((scale, scale) if isinstance(scale, int) else scale for scale in self.scales)


@dataclass(frozen=True)
class MixedPart:
    """How one dataset of a mix is sampled (`DistributedBatchSampler` inside `MixSampler`).

    Attributes:
        ratio: its part of each batch; the last dataset gets what is left over.
        shuffle: shuffle it at each pass.
        drop_last: leave out the incomplete batch at the end of each pass.
    """

    ratio: Fraction
    shuffle: bool = False
    drop_last: bool = False


MIXED_PARTS: dict[str, type] = {"DistributedBatchSampler": MixedPart}


@SAMPLERS.add("MixSampler")
@dataclass(frozen=True)
class MixSampler:
    """Every batch takes a fixed share from each dataset of a `MixDataset`.

    Attributes:
        batch_size: samples in a batch.
        sample_configs: one per dataset, in their order.
        iter_per_epoch: batches in an epoch.
    """

    batch_size: PositiveInt
    sample_configs: tuple[
        Annotated[Any, Named("sampler of a mixed dataset", MIXED_PARTS, REFUSED_SAMPLERS)], ...
    ]
    iter_per_epoch: PositiveInt

    def __post_init__(self) -> None:
        if not self.sample_configs:
            raise ValueError("sample_configs is empty; list one sampler for each dataset")
        if min(self.part_sizes) < 1:
            raise ValueError(
                f"the ratios share a batch of {self.batch_size} as {list(self.part_sizes)}; "
                "every dataset needs at least one sample in each batch"
            )

    @property
    def part_sizes(self) -> tuple[int, ...]:
        """How many samples of a batch come from each dataset."""
        shares = [int(self.batch_size * part.ratio) for part in self.sample_configs[:-1]]
        return (*shares, self.batch_size - sum(shares))


@SAMPLERS.add("RASampler")
@dataclass(frozen=True)
class RASampler:
    """Repeated augmentation (Hoffer et al. 2020): `num_repeats` copies of a picture lie side by side.

    The epoch is cut to the length of one pass, rounded down to a multiple of 256 pictures.
    """

    batch_size: PositiveInt
    shuffle: bool = False
    drop_last: bool = False
    num_repeats: PositiveInt = 3


@dataclass(frozen=True)
class Loader:
    """Who reads the pictures.

    Attributes:
        num_workers: worker processes; 0 reads in the training process itself.
        use_shared_memory: workers hand batches over in shared memory; False sends them through a pipe.
    """

    num_workers: NonNegativeInt = 0
    use_shared_memory: bool = True


@dataclass(frozen=True)
class Split:
    """One half of the data, `DataLoader.Train` or `DataLoader.Eval`."""

    dataset: Annotated[Any, Named("dataset", DATASETS, REFUSED_DATASETS)]
    sampler: Annotated[Any, Named("sampler", SAMPLERS, REFUSED_SAMPLERS, default="BatchSampler")]
    loader: Loader = field(default_factory=Loader)

    refused_keys: ClassVar[Mapping[str, Refused]] = dict.fromkeys(
        ("Query", "Gallery"), Refused(_served_by_paddleclas("retrieval with a gallery and queries"))
    )

    def __post_init__(self) -> None:
        if isinstance(self.dataset, MultiScaleDataset) != isinstance(self.sampler, MultiScaleSampler):
            raise ValueError("MultiScaleDataset and MultiScaleSampler need each other; name both or none")
        if isinstance(self.sampler, MixSampler):
            parts = len(self.dataset.datasets_config) if isinstance(self.dataset, MixDataset) else None
            if parts != len(self.sampler.sample_configs):
                raise ValueError(
                    "MixSampler needs a MixDataset with one dataset for each of its sample_configs"
                )

    @property
    def changing_sizes(self) -> tuple[tuple[int, int], ...]:
        """The (width, height) that batches or epochs take in turn; empty where all have one size."""
        if isinstance(self.sampler, MultiScaleSampler):
            return self.sampler.sizes
        listed = [progress_of(op).get("progress_size", ()) for op in transform_ops_of(self.dataset)]
        return tuple((side, side) for sides in listed for side in sides)
