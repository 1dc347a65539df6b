"""Deploy graphs: another network, the same numbers, and the trained one as it was."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from paddle import nn
from toys import export_toy, make_toy, noise

from ppghost.artifact import GRAPHS, Artifact, check_artifact, read_artifact
from ppghost.errors import GhostError, VerificationError
from ppghost.export.fuse import fastest_graph, fold, fold_batch_norm, fuse, to_graph
from ppghost.export.target import load_target
from ppghost.nets.blocks import ConvBN
from ppghost.nets.ghostnet import GhostNet


def norms_of(net: nn.Layer) -> list[nn.BatchNorm2D]:
    return [layer for layer in net.sublayers() if isinstance(layer, nn.BatchNorm2D)]


def settle(net: nn.Layer) -> nn.Layer:
    """Return `net` in training mode with the statistics of one batch, as training would leave them."""
    for norm in norms_of(net):
        norm._momentum = 0.0
    net.train()
    with paddle.no_grad():
        net(paddle.to_tensor(noise(0, 8, 64)))
    return net


def trained_net(seed: int, scale: float, class_num: int = 5) -> nn.Layer:
    """Return a GhostNet whose channels differ: other scales and shifts, some negative, some hardly alive.

    The statistics fit the weights, but not too well. Were they of another network, its maps would grow from
    layer to layer until float32 has no digits left to compare.
    """
    paddle.seed(seed)
    rng = np.random.RandomState(seed)
    net = GhostNet(scale, class_num=class_num)
    lives = []
    for layer in net.sublayers():
        if isinstance(layer, ConvBN):
            norm, channels = layer._batch_norm, layer._batch_norm._mean.shape[0]
            alive = np.where(rng.uniform(size=channels) < 0.2, 10.0 ** rng.uniform(-6, -1, channels), 1)
            layer._conv.weight.set_value((layer._conv.weight.numpy().T * alive).T.astype(np.float32))
            scales = rng.choice([-1, 1], channels) * rng.uniform(0.5, 1.5, channels)
            norm.weight.set_value(scales.astype(np.float32))
            norm.bias.set_value((0.2 * rng.standard_normal(channels)).astype(np.float32))
            lives.append(alive)
    settle(net)
    for norm, alive in zip(norms_of(net), lives):
        mean, variance = norm._mean.numpy(), norm._variance.numpy()
        # Behind ReLU a channel may be constant in this batch and vary in the next one.
        variance = np.maximum(variance, 0.5 * alive**2 * np.mean(variance / alive**2))
        shift = 0.1 * np.sqrt(variance) * rng.standard_normal(len(mean))
        norm._mean.set_value((mean + shift).astype(np.float32))
        norm._variance.set_value((variance * rng.uniform(0.8, 1.25, len(mean))).astype(np.float32))
    return net


def outputs_of(net: nn.Layer, images: np.ndarray) -> np.ndarray:
    """Run `net` in evaluation mode; its layers keep their modes."""
    modes = [(layer, layer.training) for layer in net.sublayers(include_self=True)]
    net.eval()
    with paddle.no_grad():
        logits = net(paddle.to_tensor(images)).numpy()
    for layer, mode in modes:
        layer.training = mode
    return logits


def exact_outputs_of(net: nn.Layer, images: np.ndarray) -> np.ndarray:
    """Run a copy of `net` in float64."""
    return outputs_of(copy.deepcopy(net).to(dtype="float64"), images.astype(np.float64))


def facts_of(net: nn.Layer) -> Iterator[object]:
    yield from ((key, value.numpy().tobytes()) for key, value in net.state_dict().items())
    yield from ((parameter.name, parameter.stop_gradient) for parameter in net.parameters())
    yield from ((type(layer), layer.training) for layer in net.sublayers(include_self=True))


@given(
    seed=st.integers(0, 2**32 - 1),
    channels=st.integers(1, 9),
    inputs=st.integers(1, 9),
    exponent=st.floats(-30, 3),
    epsilon=st.sampled_from([1e-3, 1e-5, 1e-12]),
)
def test_a_folded_convolution_is_convolution_and_batch_norm(
    seed: int, channels: int, inputs: int, exponent: float, epsilon: float
) -> None:
    rng = np.random.RandomState(seed)
    weight = rng.standard_normal((channels, inputs, 1, 1)).astype(np.float32)
    gamma, beta, mean = rng.standard_normal((3, channels)).astype(np.float32)
    variance = (rng.uniform(0, 1, channels) * 10**exponent).astype(np.float32)
    x = rng.standard_normal(inputs)
    convolved = weight[:, :, 0, 0].astype(np.float64) @ x
    expected = gamma * (convolved - mean) / np.sqrt(variance.astype(np.float64) + epsilon) + beta
    folded, bias = fold_batch_norm(weight, gamma, beta, mean, variance, epsilon)
    assert folded.dtype == bias.dtype == np.float32
    assert folded.shape == weight.shape
    parts = np.abs(folded[:, :, 0, 0]) @ np.abs(x) + np.abs(bias)
    assert (np.abs(folded[:, :, 0, 0] @ x + bias - expected) <= 2e-7 * parts + 1e-12).all()


# Without shrinking: a smaller network is no simpler one.
@settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(0.1, 0.5),
    class_num=st.integers(1, 30),
    batch_size=st.integers(1, 3),
    sides=st.tuples(st.integers(32, 70), st.integers(32, 70)),
)
def test_every_graph_gives_the_numbers_of_the_network_and_leaves_it_alone(
    seed: int, scale: float, class_num: int, batch_size: int, sides: tuple[int, int]
) -> None:
    net = trained_net(seed, scale, class_num)
    before = list(facts_of(net))
    images = np.random.RandomState(seed).standard_normal((batch_size, 3, *sides)).astype(np.float32)
    expected = exact_outputs_of(net, images)
    # Now and then a random net's maps leave float32 few digits; then the network itself is as far from exact.
    rounding = np.abs(outputs_of(net, images) - expected).max()
    for convert in (fold, fuse):
        converted = convert(net)
        logits = outputs_of(converted, images)
        assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max() + 4 * rounding
        for parameter in converted.parameters():
            parameter.set_value(paddle.zeros_like(parameter))
    assert list(facts_of(net)) == before


def test_a_conversion_draws_no_random_number() -> None:
    net = trained_net(1, 0.1)
    paddle.seed(5)
    expected = paddle.randn([4]).numpy()
    paddle.seed(5)
    fuse(net)
    assert (paddle.randn([4]).numpy() == expected).all()


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_converted_network_is_ready_to_predict(graph: str) -> None:
    net = trained_net(2, 0.1)
    converted = to_graph(net, graph)
    assert not any(layer.training for layer in converted.sublayers(include_self=True))
    assert net.training
    assert bool(norms_of(converted)) == (graph == "stock")


class Dressed(GhostNet):
    """A GhostNet that computes something else."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return super().forward(x) * 2


@pytest.mark.parametrize(
    ("net", "graph", "sentence"),
    [
        (make_toy, "folded", r"Toy has no .*ConvBN.*--graph stock"),
        (make_toy, "fused", r"Toy has no fused graph.*--graph folded or --graph stock"),
        (lambda seed: Dressed(0.1), "fused", "Dressed has no fused graph"),
        (make_toy, "fussed", "Did you mean 'fused'"),
    ],
    ids=["fold", "fuse", "subclass", "typo"],
)
def test_what_cannot_be_converted_is_refused(net: object, graph: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(GhostError, match=sentence):
        export_toy(net(1), tmp_path / "inference", graph=graph)
    assert not list(tmp_path.iterdir())


def test_a_network_that_only_shares_our_bricks_can_be_folded() -> None:
    paddle.seed(4)
    net = settle(
        nn.Sequential(ConvBN(3, 8, 3, stride=2), ConvBN(8, 8, 5, groups=8, relu=False), nn.Flatten())
    )
    expected = outputs_of(net, noise(1, 2))
    assert np.abs(outputs_of(fold(net), noise(1, 2)) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert fastest_graph(net) == "stock"


# ------------------------------------------------------------------------------------------- in an artifact


@pytest.fixture(scope="module")
def net() -> nn.Layer:
    return trained_net(6, 0.25, class_num=7)


@pytest.fixture(scope="module")
def exports(net: nn.Layer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The network exported with each of its graphs, the fused one because it is the default."""
    folder = tmp_path_factory.mktemp("graphs")
    asked = {"stock": "stock", "folded": "folded", "fused": None}
    return {name: export_toy(net, folder / name, graph=graph, softmax=False) for name, graph in asked.items()}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("form", ["json", "pdmodel"])
def test_each_form_of_each_graph_is_the_network(
    net: nn.Layer, exports: dict[str, Artifact], graph: str, form: str
) -> None:
    artifact = exports[graph]
    assert artifact.facts.graph == graph
    images = noise(3, 3)
    expected = outputs_of(net, images)
    with load_target("paddle").open(artifact, engine="native", model_format=form, threads=1) as predictor:
        assert np.abs(predictor(images) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_fused_graph_concatenates_once_in_a_bottleneck(exports: dict[str, Artifact]) -> None:
    counts = {graph: op_count(artifact, "concat") for graph, artifact in exports.items()}
    gates = 7  # whose concatenation is one of channel means
    assert counts == {"stock": 32, "folded": 32, "fused": 16 + gates}
    norms = {graph: op_count(artifact, "batch_norm_") for graph, artifact in exports.items()}
    assert norms["stock"] > 80
    assert norms["folded"] == norms["fused"] == 0


def op_count(artifact: Artifact, name: str) -> int:
    program = json.loads((artifact.folder / "inference.json").read_text(encoding="utf-8"))
    [region] = program["program"]["regions"]
    [block] = region["blocks"]
    return sum(op["#"].split(".")[-1] == name for op in block["ops"])


def test_an_artifact_from_before_graphs_is_a_stock_one(exports: dict[str, Artifact]) -> None:
    folder = exports["stock"].folder
    facts, lines = folder / "inference.yml", folder / "preprocess.txt"
    tree = yaml.safe_load(facts.read_text(encoding="utf-8"))
    del tree["Artifact"]["graph"]
    facts.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    lines.write_text(lines.read_text(encoding="utf-8").replace("graph stock\n", ""), encoding="utf-8")
    artifact = read_artifact(folder)
    assert artifact.facts.graph == "stock"
    check_artifact(artifact)


def test_where_a_conversion_shows_the_way_out_is_named(tmp_path: Path) -> None:
    """Maps near a million that a later mean takes away again leave float32 few digits."""
    paddle.seed(7)
    net = GhostNet(0.1, class_num=7)
    bias = net._blocks[0].ghost_module_1.primary_conv._batch_norm.bias
    bias.set_value(paddle.full_like(bias, 1e6))
    with pytest.raises(VerificationError, match="(?s)'fused' adds up in another order.*--graph stock"):
        export_toy(settle(net), tmp_path / "inference")
    assert not list(tmp_path.iterdir())
