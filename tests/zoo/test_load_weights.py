"""Reading and loading weight files: what fits, what does not, and what must never be executed."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from paddle import nn

import ppghost
from ppghost.errors import WeightsError
from ppghost.zoo.keymaps import from_iamhankai
from ppghost.zoo.weights import load_weights, read_weights


def arrays_of(net: nn.Layer) -> dict[str, np.ndarray]:
    return {key: tensor.numpy().copy() for key, tensor in net.state_dict().items()}


def small_net() -> nn.Layer:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1D(4), nn.Linear(4, 5))


def test_what_paddle_saves_is_read(tmp_path: Path) -> None:
    net = small_net()
    for protocol in (2, 4):
        paddle.save(net.state_dict(), str(tmp_path / "w.pdparams"), protocol=protocol)
        state = read_weights(tmp_path / "w")
        assert state.keys() == net.state_dict().keys()
        for key, array in arrays_of(net).items():
            np.testing.assert_array_equal(state[key], array)


def test_tensors_outside_of_a_state_dict_are_read(tmp_path: Path) -> None:
    weight = paddle.randn([2, 3])
    paddle.save({"weight": weight, "one": paddle.ones([1])}, str(tmp_path / "w.pdparams"))
    np.testing.assert_array_equal(read_weights(tmp_path / "w.pdparams")["weight"], weight.numpy())


@given(
    st.dictionaries(
        st.text(min_size=1),
        hnp.arrays(hnp.floating_dtypes(sizes=(32, 64)), hnp.array_shapes(max_side=4)),
        max_size=4,
    ),
    st.sampled_from([2, 3, 4, 5]),
    st.sampled_from(["numpy.core", "numpy._core"]),
)
def test_files_of_any_pickle_protocol_and_numpy_age_are_read(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, np.ndarray], protocol: int, core: str
) -> None:
    content = pickle.dumps(OrderedDict(state), protocol=protocol)
    if protocol == 2:
        # Only protocol 2 writes names without their length, so only there they can be exchanged in the text.
        content = content.replace(b"numpy._core", core.encode()).replace(b"numpy.core", core.encode())
    path = tmp_path_factory.mktemp("w") / "w.pdparams"
    path.write_bytes(content)
    read = read_weights(path)
    assert read.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(read[key], array)


class Attack:
    """Unpickling this the ordinary way creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_nothing_in_a_weight_file_is_executed(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps({"fc.weight": Attack(target)}))
    with pytest.raises(WeightsError, match="which no weight file needs; it was not executed"):
        read_weights(tmp_path / "w.pdparams")
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<html>", "a web page"),
        (b"PK\x03\x04", "zip archive, perhaps a PyTorch file"),
        (b"\x80\x04garbage", "damaged or cut off"),
        (pickle.dumps([1, 2]), "holds a list"),
        (pickle.dumps({"a": "text"}), "entry 'a' is a str"),
        (pickle.dumps({"LR_Scheduler": {"last_epoch": 1}}), r"is it a \.pdopt file"),
        (pickle.dumps({1: np.zeros(1)}), "entry 1"),
    ],
)
def test_what_is_no_weight_file_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "w.pdparams"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        read_weights(path)


@given(st.data())
def test_a_cut_file_is_never_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = pickle.dumps({"a": np.arange(6.0), "b": np.ones((2, 2))}, protocol=4)
    path = tmp_path_factory.mktemp("w") / "w.pdparams"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(WeightsError):
        read_weights(path)


def test_a_misfit_leaves_the_network_as_it_was() -> None:
    net = small_net()
    before = arrays_of(net)
    state = {key: array + 1 for key, array in before.items()}
    state["2.bias"] = np.zeros(7, "float32")
    del state["0.weight"]
    state["3.weight"] = np.zeros(1, "float32")
    with pytest.raises(WeightsError) as error:
        load_weights(net, state)
    for part in (
        "1 missing: 0.weight",
        "1 unexpected: 3.weight",
        "2.bias: float32 [7] in the file, float [5]",
    ):
        assert part in str(error.value)
    for key, array in arrays_of(net).items():
        np.testing.assert_array_equal(array, before[key])

    report = load_weights(net, state, strict=False)
    assert (report.missing, report.unexpected) == (("0.weight",), ("3.weight",))
    assert set(report.loaded) == set(before) - {"0.weight", "2.bias"}
    np.testing.assert_array_equal(net[1].weight.numpy(), before["1.weight"] + 1)
    assert "1 missing" in str(report)


def test_weights_with_nothing_in_common_are_refused_even_if_not_strict() -> None:
    with pytest.raises(WeightsError, match="5 missing|6 missing|8 missing"):
        load_weights(small_net(), {"other": np.zeros(1, "float32")}, strict=False)


def test_a_classifier_is_left_out_as_a_whole_and_only_where_it_is_allowed() -> None:
    net = small_net()
    state = arrays_of(small_net())
    # The bias alone would fit: half a classifier of other classes would be worse than none.
    state["2.weight"] = np.zeros((4, 9), "float32")
    own = arrays_of(net)
    with pytest.raises(WeightsError, match="2.weight"):
        load_weights(net, state)
    report = load_weights(net, state, classifier="2")
    assert report.skipped == ("2.bias", "2.weight")
    np.testing.assert_array_equal(net[2].bias.numpy(), own["2.bias"])
    np.testing.assert_array_equal(net[0].weight.numpy(), state["0.weight"])
    assert load_weights(net, arrays_of(small_net()), classifier="2").skipped == ()


def test_other_floating_types_are_converted_and_bit_patterns_refused() -> None:
    net = small_net()
    state = {key: array.astype("float64") for key, array in arrays_of(small_net()).items()}
    load_weights(net, state)
    assert net[0].weight.dtype == paddle.float32
    np.testing.assert_array_equal(net[0].weight.numpy(), state["0.weight"].astype("float32"))
    with pytest.raises(WeightsError, match="uint16"):
        load_weights(net, {**state, "0.weight": np.zeros((3, 4), "uint16")})


def test_an_unknown_key_map_is_answered_with_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="iamhankai"):
        load_weights(small_net(), {}, keymap="iamhankei")


class TorchNames(nn.Layer):
    """The first public GhostNet's module tree (its README and PyTorch keys), built of our own blocks.

    Each of our parts hangs where that project's has it, so walking this tree gives that project's keys
    by another way than the key map does.
    """

    def __init__(self, net: nn.Layer) -> None:
        super().__init__()
        blocks = [sub for name, sub in net.named_children() if name.startswith("_ghostbottleneck")]
        self.features = nn.LayerList([self.pair(net.conv1), *map(self.bottleneck, blocks)])
        self.squeeze = self.pair(net.conv_last)
        self.classifier = nn.LayerList([*self.pair(net.fc_0), nn.ReLU(), nn.Dropout(), net.fc_1])

    @staticmethod
    def pair(part: Any) -> nn.LayerList:
        return nn.LayerList([part._conv, part._batch_norm])

    def ghost(self, module: Any) -> nn.Layer:
        holder = nn.Layer()
        holder.primary_conv = self.pair(module.primary_conv)
        holder.cheap_operation = self.pair(module.cheap_operation)
        return holder

    def bottleneck(self, block: Any) -> nn.Layer:
        holder = nn.Layer()
        gate = nn.Layer()
        if hasattr(block, "se_block"):
            gate.fc = nn.LayerList([block.se_block.squeeze, nn.ReLU(), block.se_block.excitation])
        middle = self.pair(block.depthwise_conv) if hasattr(block, "depthwise_conv") else nn.LayerList()
        holder.conv = nn.LayerList(
            [self.ghost(block.ghost_module_1), middle, gate, self.ghost(block.ghost_module_2)]
        )
        if hasattr(block, "shortcut_conv"):
            shortcut = self.pair(block.shortcut_conv)
            holder.shortcut = nn.LayerList([self.pair(block.shortcut_depthwise), *shortcut])
        return holder


def torch_state(net: nn.Layer) -> dict[str, np.ndarray]:
    """Return the weights of one of our nets in the names and layout of iamhankai's."""
    tree = TorchNames(net)
    linear = {f"{name}.weight" for name, part in tree.named_sublayers() if isinstance(part, nn.Linear)}
    state = {}
    for key, array in arrays_of(tree).items():
        theirs = key.replace("._mean", ".running_mean").replace("._variance", ".running_var")
        state[theirs] = array.T if key in linear else array
    # A linear layer there, a 1x1 convolution here.
    state["classifier.0.weight"] = state["classifier.0.weight"][:, :, 0, 0]
    return {**state, "features.0.1.num_batches_tracked": np.zeros((), "int64")}


@pytest.mark.parametrize("name", ["GhostNet_x0_5", "GhostNet_x1_3"])
def test_weights_of_the_first_public_ghostnet_load(name: str) -> None:
    source, target = (ppghost.build_model(name, class_num=5) for _ in "ab")
    state = torch_state(source)
    report = load_weights(target, state, keymap="iamhankai")
    assert len(report.loaded) == 435
    for key, array in arrays_of(source).items():
        np.testing.assert_array_equal(target.state_dict()[key].numpy(), array, err_msg=key)
    with pytest.raises(WeightsError, match="keymap='iamhankai'"):
        load_weights(target, state)
    with pytest.raises(WeightsError, match="'extra.weight' is no key"):
        from_iamhankai({"extra.weight": np.zeros(1)})


def test_weights_of_huawei_and_timm_are_refused_with_the_reason() -> None:
    net = ppghost.build_model("GhostNet_x0_5")
    with pytest.raises(WeightsError, match="Huawei's or timm's.*squeeze-and-excitation is wider"):
        load_weights(net, {"conv_stem.weight": np.zeros((8, 3, 3, 3), "float32")})
