"""The network itself: sizes, rounding, what its layers do, and two of them in one process."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddle import nn

from ppghost.nets.blocks import SqueezeExcitation, round_channels
from ppghost.nets.ghostnet import GhostModule, GhostNet
from ppghost.nets.macs import count_macs, count_params, count_params_with_statistics


@given(st.floats(0.1, 5000), st.integers(1, 64))
def test_rounding_keeps_the_divisor_and_nine_tenths_of_the_channels(channels: float, divisor: int) -> None:
    rounded = round_channels(channels, divisor)
    assert rounded % divisor == 0
    assert rounded >= 0.9 * channels
    assert rounded <= max(divisor, channels + divisor)


def test_ghosts_depend_on_the_intrinsic_features_alone() -> None:
    module = GhostModule(6, 8, relu=False)
    module.eval()
    x = paddle.randn([2, 6, 5, 7])
    out = module(x)
    assert out.shape == [2, 8, 5, 7]
    intrinsic = module.primary_conv(x)
    np.testing.assert_array_equal(out[:, :4].numpy(), intrinsic.numpy())
    np.testing.assert_array_equal(out[:, 4:].numpy(), module.cheap_operation(intrinsic).numpy())


def test_the_gate_is_a_clip_without_shift() -> None:
    se = SqueezeExcitation(8)
    x = paddle.randn([3, 8, 4, 4])
    mean = x.numpy().mean(axis=(2, 3))
    hidden = np.maximum(mean @ se.squeeze.weight.numpy() + se.squeeze.bias.numpy(), 0)
    gate = np.clip(hidden @ se.excitation.weight.numpy() + se.excitation.bias.numpy(), 0, 1)
    np.testing.assert_allclose(se(x).numpy(), x.numpy() * gate[:, :, None, None], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (33, 65)])
def test_any_size_from_32_up_gives_one_row_of_logits_a_picture(size: tuple[int, int]) -> None:
    paddle.seed(0)
    net = GhostNet(0.5, class_num=7)
    net.eval()
    x = paddle.randn([2, 3, *size])
    logits = net(x).numpy()
    assert logits.shape == (2, 7)
    assert np.abs(net(x[:1]).numpy() - logits[:1]).max() <= 1e-4 * np.abs(logits).max()


def test_costs_are_those_that_were_published() -> None:
    net = GhostNet(1.0)
    assert count_params(net) == 5_183_016
    assert count_params_with_statistics(net) == 5_207_544
    assert net.training
    assert round(count_macs(net) / 1e6, 2) == 141.15
    assert net.training, "counting must give the mode back"


def test_macs_of_a_convolution_and_a_linear_layer_by_hand() -> None:
    conv = nn.Sequential(
        nn.Conv2D(4, 6, 3, stride=2, padding=1, groups=2), nn.Flatten(), nn.Linear(6 * 25, 10)
    )
    assert count_macs(conv, (4, 10, 10)) == 6 * (4 // 2) * 9 * 25 + 6 * 25 * 10


def test_batch_norm_is_exempt_from_weight_decay() -> None:
    net = GhostNet(0.5, class_num=2)
    for name, parameter in net.named_parameters():
        is_scale_or_shift = "_batch_norm" in name and not name.endswith(("_mean", "_variance"))
        assert (parameter.regularizer is not None) == is_scale_or_shift, name


def test_two_networks_train_independently_in_one_optimizer() -> None:
    first, second = GhostNet(0.5, class_num=3), GhostNet(0.5, class_num=3)
    names = [parameter.name for net in (first, second) for parameter in net.parameters()]
    assert len(set(names)) == len(names)
    optimizer = paddle.optimizer.Momentum(0.1, parameters=first.parameters() + second.parameters())
    before = second.fc_1.weight.numpy()
    first(paddle.randn([2, 3, 32, 32])).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(second.fc_1.weight.numpy(), before)
