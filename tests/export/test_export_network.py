"""Exporting: the files compute what the network computes, and everything else stays as it was."""

from __future__ import annotations

import hashlib
import os
import resource
import threading
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from paddle import nn
from toys import LABELS, PIPELINE, SIZE, Toy, calibrated, export_toy, make_toy, noise, pipeline_of

from ppghost.artifact import Artifact, check_artifact, read_artifact
from ppghost.errors import ArtifactError, GhostError, OutputError
from ppghost.export.paddle import NetworkPredictor, export_network
from ppghost.export.target import find_targets, load_target
from ppghost.export.verify import verify
from ppghost.nets.ghostnet import GhostNet
from ppghost.vision import Labels, Pipeline, softmax

FORMS = [(engine, form) for engine in ("native", "onednn") for form in ("json", "pdmodel")]


def relative_error(given: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(given - expected).max() / np.abs(expected).max())


def logits_of(net: nn.Layer, images: np.ndarray) -> np.ndarray:
    """Run a network in evaluation mode without the code under test."""
    net.eval()
    with paddle.no_grad():
        logits = net(paddle.to_tensor(images)).numpy()
    net.train()
    return logits


@pytest.fixture(scope="module")
def ghost() -> nn.Layer:
    paddle.seed(3)
    return calibrated(GhostNet(0.5, class_num=20), size=64)


@pytest.fixture(scope="module")
def shipped_ghost(ghost: nn.Layer, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    out = tmp_path_factory.mktemp("ghost") / "inference"
    return export_network(
        ghost, out, name="GhostNet_x0_5", image_shape=(3, 64, 64), pipeline=pipeline_of(64), softmax=False
    )


@pytest.mark.parametrize(("engine", "form"), FORMS)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_ghostnet_runs_as_in_training(
    ghost: nn.Layer, shipped_ghost: Artifact, engine: str, form: str, batch_size: int
) -> None:
    images = noise(7, batch_size, size=64)
    target = load_target("paddle")
    with target.open(shipped_ghost, engine=engine, model_format=form, threads=1) as predictor:
        assert relative_error(predictor(images), logits_of(ghost, images)) <= 1e-5


@pytest.mark.parametrize(("engine", "form"), FORMS)
def test_softmax_is_in_the_graph(toy: nn.Layer, shipped: Artifact, engine: str, form: str) -> None:
    images = noise(8, 2)
    with load_target("paddle").open(shipped, engine=engine, model_format=form, threads=1) as predictor:
        probabilities = predictor(images)
        again = predictor(images[:1])
    assert np.abs(probabilities - softmax(logits_of(toy, images))).max() <= 1e-6
    assert again.shape == (1, probabilities.shape[1])
    assert shipped.facts.output == "probabilities"


def test_files_carry_the_names_that_paddleclas_users_know(shipped: Artifact) -> None:
    assert sorted(os.listdir(shipped.folder)) == [
        "golden.npz",
        "inference.json",
        "inference.pdiparams",
        "inference.pdmodel",
        "inference.yml",
        "labels.txt",
        "preprocess.txt",
        "verify.json",
    ]
    assert [model.input for model in shipped.facts.models] == ["x", "x"]


def test_facts_have_the_keys_that_paddleclas_reads(shipped: Artifact) -> None:
    """PaddleClas' deploy programs read these keys and hand the parameters to their ops as they stand."""
    tree = yaml.safe_load((shipped.folder / "inference.yml").read_text(encoding="utf-8"))
    assert tree["Global"] == {"model_name": "Toy", "preprocessing": "paddleclas"}
    assert tree["PreProcess"]["transform_ops"] == [
        {"ResizeImage": {"resize_short": 36}},
        {"CropImage": {"size": 32}},
        {
            "NormalizeImage": {
                "scale": 1 / 255,
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
                "order": "",
                "channel_num": 3,
            }
        },
        {"ToCHWImage": None},
    ]
    assert tree["PostProcess"] == {"Topk": {"topk": 5, "label_list": list(LABELS.names.values())}}


def test_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    net = make_toy(4)
    nn.functional.cross_entropy(net(paddle.to_tensor(noise(1, 4))), paddle.to_tensor([0, 1, 2, 3])).backward()
    net.norm.eval()  # a frozen layer in a net in training
    tensors = {key: value.numpy().copy() for key, value in net.state_dict().items()}
    trained = [parameter for parameter in net.parameters() if parameter.grad is not None]
    assert len(trained) == 6
    gradients = [parameter.grad.numpy().copy() for parameter in trained]
    names = [parameter.name for parameter in net.parameters()]
    modes = [layer.training for layer in net.sublayers(include_self=True)]
    export_toy(net, tmp_path / "inference")
    assert all((net.state_dict()[key].numpy() == value).all() for key, value in tensors.items())
    assert all((p.grad.numpy() == gradient).all() for p, gradient in zip(trained, gradients))
    assert [parameter.name for parameter in net.parameters()] == names
    assert [layer.training for layer in net.sublayers(include_self=True)] == modes
    assert paddle.in_dynamic_mode()
    net(paddle.to_tensor(noise(1, 4))).sum().backward()


def test_two_networks_of_one_process_stay_two(tmp_path: Path) -> None:
    nets = [make_toy(5), make_toy(6)]
    artifacts = [export_toy(net, tmp_path / str(index)) for index, net in enumerate(nets)]
    assert artifacts[0].facts.version != artifacts[1].facts.version
    images = noise(9, 2)
    for net, artifact in zip(nets, artifacts):
        with load_target("paddle").open(artifact, engine="native", threads=1) as predictor:
            assert np.abs(predictor(images) - softmax(logits_of(net, images))).max() <= 1e-6


def test_the_version_is_that_of_the_weights(toy: nn.Layer, shipped: Artifact, tmp_path: Path) -> None:
    again = export_toy(toy, tmp_path / "again")
    weights = (again.folder / "inference.pdiparams").read_bytes()
    assert again.facts.version == shipped.facts.version == hashlib.sha256(weights).hexdigest()[:12]


def test_exports_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    nets = [make_toy(seed) for seed in (10, 11, 12)]
    outs = [tmp_path / "shared", tmp_path / "shared", tmp_path / "own"]
    failures: list[BaseException] = []

    def run(net: nn.Layer, out: Path) -> None:
        try:
            export_toy(net, out)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=run, args=pair) for pair in zip(nets, outs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(os.listdir(tmp_path)) == ["own", "shared"]
    for out in set(outs):
        verify(load_target("paddle"), read_artifact(out))
    with load_target("paddle").open(read_artifact(outs[2]), threads=1) as predictor:
        assert np.abs(predictor(noise(1, 1)) - softmax(logits_of(nets[2], noise(1, 1)))).max() <= 1e-6


def test_an_export_replaces_an_earlier_one_and_paddleclas_files(tmp_path: Path) -> None:
    out = tmp_path / "inference"
    out.mkdir()
    for name in ("inference.pdmodel", "inference.pdiparams", "inference.pdiparams.info", "inference.yml"):
        (out / name).write_bytes(b"of PaddleClas")
    first = export_toy(make_toy(13), out, labels=None)
    assert not (out / "inference.pdiparams.info").exists()
    second = export_toy(make_toy(14), out)
    assert first.facts.version != second.facts.version
    check_artifact(read_artifact(out))
    assert os.listdir(tmp_path) == ["inference"]


def test_files_of_others_are_never_touched(tmp_path: Path, toy: nn.Layer) -> None:
    out = tmp_path / "inference"
    artifact = export_toy(toy, out)
    before = (out / "inference.yml").read_bytes()
    (out / "my_notes.txt").write_text("keep me")
    with pytest.raises(OutputError, match=r"my_notes\.txt.*Move them away"):
        export_toy(toy, out)
    assert (out / "my_notes.txt").read_text() == "keep me"
    assert (out / "inference.yml").read_bytes() == before
    check_artifact(artifact)


def nan_toy() -> nn.Layer:
    net = make_toy(15)
    net.fc.bias.set_value(paddle.full_like(net.fc.bias, float("nan")))
    return net


RANDOM_CROP = [{"RandCropImage": {"size": SIZE}}, {"NormalizeImage": {"order": ""}}]


@pytest.mark.parametrize(
    ("net", "changes", "sentence"),
    [
        (None, {"labels": Labels({0: "one"}, "one.txt")}, r"one\.txt names 1 classes, but Toy has 7"),
        (None, {"labels": Labels(dict.fromkeys(range(1, 8), "x"))}, "from 0 to 6"),
        (None, {"image_shape": (3, 64, 64)}, r"into \[3, 32, 32\], but the network is exported for"),
        (None, {"pipeline": Pipeline.from_list(RANDOM_CROP)}, "cannot be shipped.*draws random numbers"),
        (nan_toy, {}, "NaN or infinity"),
    ],
    ids=["labels", "ids", "size", "random", "nan"],
)
def test_what_cannot_be_shipped_leaves_nothing(
    tmp_path: Path, toy: nn.Layer, net: object, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ArtifactError, match=sentence):
        export_toy(net() if callable(net) else toy, tmp_path / "inference", **changes)
    assert os.listdir(tmp_path) == []


def test_a_failed_export_keeps_the_earlier_one(tmp_path: Path, toy: nn.Layer) -> None:
    artifact = export_toy(toy, tmp_path / "inference")
    with pytest.raises(ArtifactError):
        export_toy(nan_toy(), tmp_path / "inference")
    check_artifact(artifact)
    assert os.listdir(tmp_path) == ["inference"]


def test_a_full_disk_is_told_although_paddle_is_silent(tmp_path: Path) -> None:
    """Paddle cuts its files short without a word; a limit on file size does to them what a full disk does."""
    net = Toy(width=2048)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
    try:
        with pytest.raises(OutputError, match="would be larger than"):
            export_toy(net, tmp_path / "inference")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path: Path, toy: nn.Layer) -> None:
    (tmp_path / "file").write_text("a file")
    for out in (tmp_path / "file", tmp_path / "file" / "inference", Path("/proc/nowhere/inference")):
        with pytest.raises(OutputError, match="Cannot write"):
            export_toy(toy, out)
    assert (tmp_path / "file").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere; run as another user")
def test_a_folder_without_permission(tmp_path: Path, toy: nn.Layer) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission is denied"):
            export_toy(toy, tmp_path / "inference")
    finally:
        tmp_path.chmod(0o700)


def test_logits_without_names_can_be_shipped(tmp_path: Path, toy: nn.Layer) -> None:
    artifact = export_toy(toy, tmp_path / "inference", labels=None, softmax=False, topk=50)
    assert not (artifact.folder / "labels.txt").exists()
    assert (artifact.facts.output, artifact.labels, artifact.topk) == ("logits", None, 7)
    with load_target("paddle").open(artifact, threads=1) as predictor:
        assert relative_error(predictor(noise(2, 1)), logits_of(toy, noise(2, 1))) <= 1e-5


def test_a_network_in_memory_is_a_predictor(toy: nn.Layer) -> None:
    with NetworkPredictor(toy) as predictor:
        assert (predictor(noise(3, 2)) == logits_of(toy, noise(3, 2))).all()
    assert toy.training


def test_the_target_writes_the_same_artifact(tmp_path: Path, toy: nn.Layer, shipped: Artifact) -> None:
    target = load_target("paddle")
    assert target.consumes == "network"
    assert not target.tools()
    options = {"name": "Toy", "image_shape": (3, SIZE, SIZE), "pipeline": PIPELINE, "labels": LABELS}
    assert target.export(toy, tmp_path / "inference", **options).facts.version == shipped.facts.version


def test_targets_are_the_folders_of_deploy() -> None:
    targets = find_targets()
    assert targets["paddle"].name == "target.py"
    assert all(load_target(name).name == name for name in targets)
    with pytest.raises(GhostError, match="Did you mean 'paddle'"):
        load_target("padle")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"engine": "onedn"}, "Did you mean 'onednn'"),
        ({"model_format": "onnx"}, "Accepted: json, pdmodel"),
        ({"threads": 0}, "at least 1"),
    ],
)
def test_options_that_the_target_does_not_have(
    shipped: Artifact, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(GhostError, match=sentence):
        load_target("paddle").open(shipped, **options)
