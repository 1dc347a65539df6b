"""The loader: the same numbers whoever reads them, exact resume, broken pictures, every dataset."""

from __future__ import annotations

import io
import math
import pickle
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest

from ppghost.config import loading
from ppghost.data import Batch, Loader, lists
from ppghost.data.cifar import read_cifar
from ppghost.errors import ConfigError, DataError, TrainingError
from ppghost.vision import BATCH_OPS, Pipeline, Rng

from . import pictures

MakeLoader = Callable[..., Loader]


def numbers(batches: Iterable[Batch]) -> list[tuple[bytes, bytes]]:
    """Return the bytes of images and labels of each batch, for exact comparison."""
    return [(batch.images.numpy().tobytes(), batch.labels.numpy().tobytes()) for batch in batches]


def test_samples_are_those_of_the_pipeline(make_loader: MakeLoader, folder: Path) -> None:
    loader = make_loader(sampler=loading.DistributedBatchSampler(4))
    pipeline = Pipeline.from_list(pictures.TRAIN_OPS)
    seen = 0
    for batch in loader.batches(2):
        assert batch.images.shape == [batch.size, 3, 16, 16]
        for row in range(batch.size):
            index = batch.number * 4 + row
            content = (folder / "p" / f"{index}.png").read_bytes()
            expected = pipeline.to_chw(content, Rng.derive(0, 2, index))
            assert np.array_equal(batch.images[row].numpy(), expected)
            assert int(batch.labels[row]) == index % pictures.CLASSES
        seen += batch.size
    assert seen == loader.sample_count == 23
    assert loader.steps_per_epoch == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_ops_that_cannot_work_end_with_a_sentence_for_the_user(make_loader: MakeLoader, workers: int) -> None:
    wrong_order = [pictures.DECODE, {"CropImage": {"size": 16}}, {"NormalizeImage": None}]
    with pytest.raises(ConfigError, match="NormalizeImage, at position 2.*order: ''"):
        next(make_loader(workers=workers, ops=wrong_order).batches(1))
    mix = (BATCH_OPS["MixupCutmixHybrid"](num_classes=4),)
    with pytest.raises(ConfigError, match="batch_transform_ops: .*num_classes is 4 .* 5 classes"):
        next(make_loader(workers=workers, batch_ops=mix).batches(1))


@pytest.mark.parametrize("batch_ops", [None, (BATCH_OPS["MixupOperator"](alpha=0.2),)])
def test_equal_to_the_last_bit_for_any_number_of_workers(make_loader: MakeLoader, batch_ops: Any) -> None:
    sampler = loading.DistributedBatchSampler(11, shuffle=True)
    reference = make_loader(batch_ops=batch_ops, sampler=sampler)
    expected = {epoch: numbers(reference.batches(epoch)) for epoch in (1, 2, 3)}
    assert expected[1] != expected[2]
    for workers, shared in ((1, True), (4, True), (2, False)):
        loader = make_loader(workers=workers, shared=shared, batch_ops=batch_ops, sampler=sampler)
        assert {epoch: numbers(loader.batches(epoch)) for epoch in (1, 2, 3)} == expected
        loader.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_in_mid_epoch_is_exact(make_loader: MakeLoader, workers: int) -> None:
    expected = numbers(make_loader().batches(2))
    resumed = make_loader(workers=workers)
    assert numbers(resumed.batches(2, start=3)) == expected[3:]
    assert numbers(resumed.batches(2, start=6)) == []
    broken_off = resumed.batches(2)
    assert numbers([next(broken_off), next(broken_off)]) == expected[:2]
    assert numbers(resumed.batches(2, start=2)) == expected[2:]
    with pytest.raises(RuntimeError, match="called again"):
        next(broken_off)
    resumed.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_breaking_off_again_and_again(make_loader: MakeLoader, workers: int) -> None:
    loader = make_loader(workers=workers, sampler=loading.DistributedBatchSampler(2, shuffle=True))
    expected = numbers(make_loader(sampler=loading.DistributedBatchSampler(2, shuffle=True)).batches(1))
    for start in (0, 7, 3, 11, 5, 9, 1, 8, 4, 10, 6, 2) * 3:
        assert numbers([next(loader.batches(1, start=start))]) == expected[start : start + 1]
    loader.close()


def test_skipped_batches_are_not_read(make_loader: MakeLoader, folder: Path) -> None:
    loader = make_loader(sampler=loading.DistributedBatchSampler(4), ops=pictures.EVAL_OPS)
    for index in range(8):
        (folder / "p" / f"{index}.png").write_bytes(b"")
    assert sum(batch.size for batch in loader.batches(1, start=2)) == 15
    assert loader.skipped == []


def test_seed_changes_order_and_augmentation(make_loader: MakeLoader) -> None:
    first = next(make_loader(seed=1).batches(1))
    second = next(make_loader(seed=2).batches(1))
    assert not np.array_equal(first.images.numpy(), second.images.numpy())


def test_epochs_beyond_the_last_can_be_read(make_loader: MakeLoader) -> None:
    loader = make_loader(epochs=1)
    assert [len(list(loader.batches(epoch))) for epoch in (1, 2, 1)] == [6, 6, 6]


@pytest.mark.parametrize(("epoch", "start"), [(0, 0), (1, -1), (1, 7)])
def test_no_such_epoch_or_batch(make_loader: MakeLoader, epoch: int, start: int) -> None:
    with pytest.raises(ValueError, match="epochs count from 1"):
        make_loader().batches(epoch, start)


@pytest.mark.parametrize("workers", [0, 2])
def test_held_batches_keep_their_numbers(make_loader: MakeLoader, workers: int) -> None:
    loader = make_loader(workers=workers, sampler=loading.DistributedBatchSampler(1))
    held = list(loader.batches(1))
    fresh = [
        numbers([batch])[0] for batch in make_loader(sampler=loading.DistributedBatchSampler(1)).batches(1)
    ]
    assert len(held) == 23
    assert numbers(held) == fresh
    loader.close()
    assert numbers(held) == fresh


@pytest.mark.parametrize("world", [1, 3, 30])
@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_counts_every_picture_once(make_loader: MakeLoader, world: int, workers: int) -> None:
    labels: list[int] = []
    for rank in range(world):
        loader = make_loader(
            training=False, rank=rank, world_size=world, workers=workers, ops=pictures.EVAL_OPS
        )
        batches = list(loader.batches(1))
        assert sum(batch.size for batch in batches) == loader.sample_count
        labels += [int(label) for batch in batches for label in batch.labels]
        loader.close()
    assert sorted(labels) == sorted(index % pictures.CLASSES for index in range(23))


def test_evaluation_is_the_same_in_every_epoch(make_loader: MakeLoader) -> None:
    loader = make_loader(training=False)
    assert numbers(loader.batches(1)) == numbers(loader.batches(5))


def test_two_processes_share_the_single_process_batch(make_loader: MakeLoader, folder: Path) -> None:
    dataset = listed(folder, "even", 24)
    whole = make_loader(dataset=dataset, sampler=loading.DistributedBatchSampler(6, shuffle=True))
    parts = [
        make_loader(
            dataset=dataset,
            sampler=loading.DistributedBatchSampler(3, shuffle=True),
            rank=rank,
            world_size=2,
        )
        for rank in range(2)
    ]
    for expected, *halves in zip(whole.batches(2), *(part.batches(2) for part in parts)):
        joined = np.concatenate([half.images.numpy() for half in halves])
        assert np.array_equal(joined, expected.images.numpy())


@pytest.fixture
def bear_two_fifths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let training bear with two fifths of broken pictures, so that a set of 23 shows what else happens."""
    monkeypatch.setattr(lists, "_BEARABLE_SHARE", 0.4)


def break_pictures(folder: Path) -> dict[str, str]:
    """Break four of the 23 pictures in four ways; return a word of the reason for each."""
    jpeg = cv2.imencode(".jpg", pictures.draw(0))[1].tobytes()
    (folder / "p" / "0.png").write_bytes(b"")
    (folder / "p" / "5.png").write_bytes(b"these are words")
    (folder / "p" / "6.png").unlink()
    (folder / "p" / "22.png").write_bytes(jpeg[:60])
    return {"0.png": "empty", "5.png": "no picture", "6.png": "No such file", "22.png": "truncated"}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_ops", [None, (BATCH_OPS["CutmixOperator"](),)])
@pytest.mark.usefixtures("bear_two_fifths")
def test_broken_pictures_are_left_out_of_training(
    make_loader: MakeLoader, folder: Path, workers: int, batch_ops: Any
) -> None:
    reasons = break_pictures(folder)
    loader = make_loader(workers=workers, batch_ops=batch_ops, sampler=loading.DistributedBatchSampler(20))
    for epoch in (1, 2):
        batches = list(loader.batches(epoch))
        assert [batch.size for batch in batches] == [17, 2]
        assert [batch.images.shape[0] for batch in batches] == [17, 2]
        assert all(np.isfinite(batch.images.numpy()).all() for batch in batches)
        if batch_ops is None:
            kept = [index for index in range(23) if f"{index}.png" not in reasons]
            labels = [int(label) for batch in batches for label in batch.labels]
            assert labels == [index % pictures.CLASSES for index in kept]
        assert {Path(name).name for name, _ in loader.skipped} == set(reasons)
        assert all(reasons[Path(name).name] in reason for name, reason in loader.skipped)
    loader.close()


@pytest.mark.usefixtures("bear_two_fifths")
def test_a_batch_of_broken_pictures_is_not_delivered(make_loader: MakeLoader, folder: Path) -> None:
    for index in (4, 5, 6, 7):
        (folder / "p" / f"{index}.png").write_bytes(b"broken")
    loader = make_loader(sampler=loading.DistributedBatchSampler(4))
    assert [batch.number for batch in loader.batches(1)] == [0, 2, 3, 4, 5]
    assert len(loader.skipped) == 4
    several = make_loader(sampler=loading.DistributedBatchSampler(4), world_size=2, rank=1)
    with pytest.raises(TrainingError, match="whole batch"):  # or the other process would wait for ever
        list(several.batches(1))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.usefixtures("bear_two_fifths")
def test_too_many_broken_pictures_stop_training(make_loader: MakeLoader, folder: Path, workers: int) -> None:
    loader = make_loader(workers=workers, ops=pictures.EVAL_OPS)
    for index in range(10):
        (folder / "p" / f"{index}.png").write_bytes(b"broken")
    with pytest.raises(TrainingError, match=r"10 of the 23 pictures.*\.png.*; \.\.\."):
        list(loader.batches(1))
    loader.close()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("broken", "content"), [(0, b""), (17, b"no picture"), (22, None)])
def test_a_broken_picture_ends_an_evaluation(
    make_loader: MakeLoader, folder: Path, workers: int, broken: int, content: Any
) -> None:
    loader = make_loader(workers=workers, training=False, ops=pictures.EVAL_OPS)
    path = folder / "p" / f"{broken}.png"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{broken}\.png"):
        list(loader.batches(1))
    pictures.write_set(folder, 23)
    assert sum(batch.size for batch in loader.batches(1)) == 23
    loader.close()


def test_pictures_of_different_shapes_are_refused(make_loader: MakeLoader) -> None:
    loader = make_loader(ops=[pictures.DECODE, pictures.NORMALIZE])
    with pytest.raises(DataError, match=r"becomes \[3, .*fixed size"):
        list(loader.batches(1))


def test_batch_ops_give_distributions(make_loader: MakeLoader) -> None:
    loader = make_loader(batch_ops=(BATCH_OPS["MixupOperator"](alpha=1.0),))
    for batch in loader.batches(1):
        assert batch.labels.shape == [batch.size, 5]
        assert np.allclose(batch.labels.numpy().sum(axis=1), 1)
    evaluated = make_loader(batch_ops=(BATCH_OPS["MixupOperator"](alpha=1.0),), training=False)
    assert next(evaluated.batches(1)).labels.shape == [4]


def listed(folder: Path, name: str, count: int) -> loading.ImageNetDataset:
    pictures.write_set(folder / name, count)
    return loading.ImageNetDataset(
        image_root=str(folder / name),
        cls_label_path=str(folder / name / "list.txt"),
        transform_ops=Pipeline.from_list(pictures.TRAIN_OPS).ops,
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_multi_scale_batches_have_the_sizes_of_the_plan(
    make_loader: MakeLoader, folder: Path, workers: int
) -> None:
    ops = [pictures.DECODE, {"RandCropImage": {"size": 224, "interpolation": "nearest"}}, pictures.NORMALIZE]
    dataset = loading.MultiScaleDataset(
        str(folder), str(folder / "list.txt"), transform_ops=Pipeline.from_list(ops).ops
    )
    sampler = loading.MultiScaleSampler(scales=((16, 24), (24, 16), (8, 8)), first_bs=4, divided_factor=8)
    loader = make_loader(dataset=dataset, sampler=sampler, workers=workers)
    shapes = [tuple(batch.images.shape) for batch in loader.batches(1)]
    assert {shape[2:] for shape in shapes} == {(24, 16), (16, 24), (8, 8)}
    assert all(rows * height * width == 4 * 16 * 24 for rows, _, height, width in shapes)
    levels = np.unique(next(loader.batches(1)).images.numpy()[:, 0])
    grey = (np.arange(256, dtype=np.float32) * np.float32(1 / 255) - np.float32(0.485)) / np.float32(0.229)
    assert np.isin(levels, grey).all(), "interpolation: nearest was lost, values are interpolated"
    loader.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_progressive_batches_have_the_size_of_their_stage(make_loader: MakeLoader, workers: int) -> None:
    progress = {"size": 16, "progress_size": [8, 12, 20, 16]}
    ops = [pictures.DECODE, {"RandCropImage": progress}, pictures.NORMALIZE]
    loader = make_loader(ops=ops, workers=workers, epochs=8)
    sides = []
    for epoch in range(1, 9):
        shapes = {tuple(batch.images.shape[1:]) for batch in loader.batches(epoch)}
        assert len(shapes) == 1
        sides.append(shapes.pop()[2])
    assert sides == [8, 8, 12, 12, 20, 20, 16, 16]
    # Whoever begins in the middle sees what a run from the start saw there.
    whole = numbers(loader.batches(5))
    loader.close()
    resumed = make_loader(ops=ops, epochs=8)
    assert numbers(resumed.batches(5, start=2)) == whole[2:]
    resumed.close()


def test_mixed_datasets(make_loader: MakeLoader, folder: Path) -> None:
    dataset = loading.MixDataset((listed(folder, "one", 6), listed(folder, "two", 9)))
    parts = (loading.MixedPart(0.34, shuffle=True, drop_last=True), loading.MixedPart(0.66, drop_last=True))
    loader = make_loader(dataset=dataset, sampler=loading.MixSampler(3, parts, 8))
    assert [batch.size for batch in loader.batches(1)] == [3] * 8
    plain = make_loader(dataset=dataset, sampler=loading.BatchSampler(15))
    labels = next(plain.batches(1)).labels.numpy().tolist()
    assert labels == [*(index % 5 for index in range(6)), *(index % 5 for index in range(9))]


def test_copies_of_repeated_augmentation_differ(make_loader: MakeLoader, folder: Path) -> None:
    dataset = listed(folder, "many", 256)
    loader = make_loader(dataset=dataset, sampler=loading.RASampler(3))
    images = next(loader.batches(1)).images.numpy()
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])


def test_label_is_the_quarter_turn(make_loader: MakeLoader, folder: Path) -> None:
    (folder / "paths.txt").write_text("".join(f"p/{index}.png\n" for index in range(23)), encoding="utf-8")
    dataset = loading.CustomLabelDataset(
        str(folder),
        str(folder / "paths.txt"),
        transform_ops=Pipeline.from_list([*pictures.EVAL_OPS, {"RandomRot90": None}]).ops,
        label_key=loading.ORIENTATION_KEY,
    )
    loader = make_loader(dataset=dataset, sampler=loading.BatchSampler(23))
    batch = next(loader.batches(1))
    upright = Pipeline.from_list(pictures.EVAL_OPS)
    for index in range(23):
        content = (folder / "p" / f"{index}.png").read_bytes()
        turned = np.rot90(upright.to_chw(content), int(batch.labels[index]), axes=(1, 2))
        assert np.array_equal(batch.images[index].numpy(), turned)
    assert len(set(batch.labels.numpy().tolist())) > 1


def write_cifar(path: Path, members: dict[str, Any]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            data = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def cifar_part(count: int, start: int) -> dict[bytes, Any]:
    planes = np.random.RandomState(start).randint(0, 256, (count, 3072)).astype(np.uint8)
    return {b"data": planes, b"labels": [(start + number) % 10 for number in range(count)]}


def test_cifar(make_loader: MakeLoader, tmp_path: Path) -> None:
    path = tmp_path / "cifar.tar.gz"
    parts = [cifar_part(20, 0), cifar_part(20, 5)]
    write_cifar(path, {"data_batch_2": parts[1], "data_batch_1": parts[0], "test_batch": cifar_part(10, 1)})
    ops = Pipeline.from_list([pictures.NORMALIZE]).ops
    sampler = loading.BatchSampler(100)
    for backend in ("pil", "cv2"):
        dataset = loading.Cifar10(str(path), backend=backend, transform_ops=ops)
        batch = next(make_loader(dataset=dataset, sampler=sampler, class_num=10).batches(1))
        assert batch.labels.numpy().tolist() == parts[0][b"labels"] + parts[1][b"labels"]
        planes = parts[0][b"data"][3].reshape(3, 32, 32).astype(np.float32)
        expected = (planes / 255 - pictures_mean()) / pictures_std()
        assert np.allclose(batch.images[3].numpy(), expected, atol=1e-5)
    few = loading.Cifar10(str(path), sample_per_label=2, expand_labels=3, transform_ops=ops)
    labels = next(make_loader(dataset=few, sampler=sampler, class_num=10).batches(1)).labels.numpy()
    assert np.bincount(labels).tolist() == [6] * 10
    with pytest.raises(DataError, match="10 classes, but Arch.class_num is 5"):
        make_loader(dataset=few, sampler=sampler)


def pictures_mean() -> np.ndarray:
    return np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)


def pictures_std() -> np.ndarray:
    return np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"data_batch_1": b"no pickle"},
        {"data_batch_1": [1]},
        {"data_batch_1": b"cos\nsystem\n(S'true'\ntR."},
        {"other": {}},
    ],
    ids=["empty", "garbage", "list", "program", "foreign"],
)
def test_damaged_or_foreign_cifar_archives_are_refused(tmp_path: Path, members: dict[str, Any]) -> None:
    path = tmp_path / "cifar.tar.gz"
    write_cifar(path, members)
    with pytest.raises(DataError, match="is not the Cifar10 archive"):
        read_cifar("Cifar10", str(path), "train")
    with pytest.raises(DataError, match="is not the Cifar10 archive"):
        read_cifar("Cifar10", str(tmp_path / "missing"), "train")


def test_a_damaged_byte_in_a_cifar_archive_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "cifar.tar.gz"
    write_cifar(path, {"data_batch_1": cifar_part(3, 0)})
    content = path.read_bytes()
    for place in range(64, len(content), 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with pytest.raises(DataError, match="is not the Cifar10 archive"):
            read_cifar("Cifar10", str(path), "train")


def test_steps_match_sizes(make_loader: MakeLoader) -> None:
    for drop_last in (False, True):
        loader = make_loader(sampler=loading.DistributedBatchSampler(5, drop_last=drop_last))
        sizes = [batch.size for batch in loader.batches(1)]
        assert len(sizes) == loader.steps_per_epoch == (23 // 5 if drop_last else math.ceil(23 / 5))
        assert sum(sizes) == loader.sample_count
