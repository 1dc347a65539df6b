"""Batch norm over all processes: what is converted, what stays, where it is refused.

What it computes is not tested: Paddle has it for GPUs only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle
import pytest
from paddle import nn
from test_distillation import DISTILL

from ppghost.config import Config
from ppghost.config.sections import Arch
from ppghost.errors import ConfigError
from ppghost.train import dist
from ppghost.train.networks import build_net, build_task
from ppghost.train.teachers import Teachers, no_other_zoo

SYNC = ("Global.device=gpu", "Arch.use_sync_bn=True")


def of_type(net: nn.Layer, kind: type[nn.Layer]) -> list[nn.Layer]:
    return [layer for layer in net.sublayers(include_self=True) if type(layer) is kind]


def built(config: Config) -> nn.Layer:
    assert isinstance(config.Arch, Arch)
    paddle.seed(3)
    with paddle.utils.unique_name.guard():
        return build_net(config, config.Arch)


def test_every_batch_norm_is_converted_and_keeps_weights_and_names(
    small_config: Callable[..., Config],
) -> None:
    plain, synchronised = built(small_config()), built(small_config(*SYNC))
    assert of_type(plain, nn.SyncBatchNorm) == []
    assert of_type(synchronised, nn.BatchNorm2D) == []
    assert len(of_type(synchronised, nn.SyncBatchNorm)) == len(of_type(plain, nn.BatchNorm2D)) > 30
    before, after = plain.state_dict(), synchronised.state_dict()
    assert list(before) == list(after)
    for key, value in before.items():
        np.testing.assert_array_equal(value.numpy(), after[key].numpy(), err_msg=key)
        # The optimizer's state is keyed by these: checkpoints go from one to the other.
        assert value.name == after[key].name
    for ours, theirs in zip(of_type(plain, nn.BatchNorm2D), of_type(synchronised, nn.SyncBatchNorm)):
        assert (ours._momentum, ours._epsilon) == (theirs._momentum, theirs._epsilon)


def test_a_frozen_batch_norm_stays_frozen(small_config: Callable[..., Config]) -> None:
    freeze = "Arch.freeze=['_ghostbottleneck_[0-4].*']"
    plain, synchronised = built(small_config(freeze)), built(small_config(freeze, *SYNC))
    frozen = [layer for layer in of_type(plain, nn.BatchNorm2D) if layer._use_global_stats]
    kept = of_type(synchronised, nn.BatchNorm2D)
    assert len(kept) == len(frozen) > 0
    assert all(layer._use_global_stats for layer in kept)
    assert len(of_type(synchronised, nn.SyncBatchNorm)) == len(of_type(plain, nn.BatchNorm2D)) - len(frozen)


def test_students_and_teachers_are_converted_alike(small_config: Callable[..., Config]) -> None:
    config = small_config(*DISTILL, *SYNC)
    with Teachers(config, no_other_zoo) as teachers:
        net = build_task(config, lambda net: net, teachers).trainable()
    assert of_type(net, nn.BatchNorm2D) == []
    assert of_type(net, nn.SyncBatchNorm)


def test_a_converted_network_is_left_as_it_is() -> None:
    net = nn.Sequential(nn.Conv2D(3, 4, 1), nn.BatchNorm2D(4))
    dist.synchronise(net)
    (converted,) = of_type(net, nn.SyncBatchNorm)
    dist.synchronise(net)
    assert of_type(net, nn.SyncBatchNorm) == [converted]


@pytest.mark.parametrize("overrides", [(), DISTILL])
def test_on_a_cpu_it_is_refused(small_config: Callable[..., Config], overrides: tuple[str, ...]) -> None:
    config = small_config(*overrides, "Arch.use_sync_bn=True")
    with Teachers(config, no_other_zoo) as teachers:
        with pytest.raises(ConfigError, match=r"use_sync_bn is True, but Global\.device is 'cpu'.*GPUs only"):
            build_task(config, lambda net: net, teachers)
