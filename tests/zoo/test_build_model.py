"""The factory: arguments, names of parameters, many networks in one process, fine-tuning."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn

import ppghost
from ppghost.errors import GhostError, WeightsError


def parameter_names(net: nn.Layer) -> set[str]:
    return {tensor.name for tensor in net.state_dict().values()}


def save(net: nn.Layer, path: Path) -> Path:
    paddle.save(net.state_dict(), str(path))
    return path


def test_no_two_networks_of_a_process_share_a_parameter_name() -> None:
    nets = [ppghost.build_model(name) for name in ("GhostNet_x0_5", "GhostNet_x0_5", "GhostNet_x1_0")]
    nets.append(nn.Linear(3, 3))
    names = [name for net in nets for name in parameter_names(net)]
    assert len(names) == len(set(names))


def test_the_nth_network_of_a_name_is_called_the_same_in_every_run() -> None:
    def run(*names: str) -> list[set[str]]:
        with paddle.utils.unique_name.guard():
            return [parameter_names(ppghost.build_model(name, class_num=2)) for name in names]

    teacher, student = run("GhostNet_x1_3", "GhostNet_x0_5")
    # Another order, and layers built in between, change nothing.
    with paddle.utils.unique_name.guard():
        nn.Conv2D(3, 3, 1)
        assert parameter_names(ppghost.build_model("GhostNet_x0_5", class_num=2)) == student
        assert parameter_names(ppghost.build_model("GhostNet_x1_3", class_num=2)) == teacher


def test_two_networks_train_with_one_optimizer_and_resume(tmp_path: Path) -> None:
    """Momentum that is loaded under the wrong name, or shared by two nets, makes the second step differ."""

    def start() -> tuple[nn.LayerList, paddle.optimizer.Optimizer]:
        nets = nn.LayerList([ppghost.build_model("GhostNet_x0_5", class_num=2, dropout=0) for _ in "ab"])
        return nets, paddle.optimizer.Momentum(0.1, 0.9, parameters=nets.parameters())

    def step(nets: nn.LayerList, optimizer: paddle.optimizer.Optimizer) -> None:
        (nets[0](x).sum() - 2 * nets[1](x).square().sum()).backward()
        optimizer.step()
        optimizer.clear_grad()

    x = paddle.randn([2, 3, 32, 32])
    # The guard spans the whole run: the optimizer names its state in it too, at its first step.
    with paddle.utils.unique_name.guard():
        nets, optimizer = start()
        step(nets, optimizer)
        save(nets, tmp_path / "run.pdparams")
        paddle.save(optimizer.state_dict(), str(tmp_path / "run.pdopt"))
        step(nets, optimizer)

    with paddle.utils.unique_name.guard():
        resumed, resumed_optimizer = start()
        resumed.set_state_dict(paddle.load(str(tmp_path / "run.pdparams")))
        resumed_optimizer.set_state_dict(paddle.load(str(tmp_path / "run.pdopt")))
        step(resumed, resumed_optimizer)
    for key, tensor in nets.state_dict().items():
        np.testing.assert_array_equal(resumed.state_dict()[key].numpy(), tensor.numpy(), err_msg=key)


def test_weights_come_from_a_path_with_and_without_ending(tmp_path: Path) -> None:
    net = ppghost.build_model("GhostNet_x0_5", class_num=4)
    file = save(net, tmp_path / "mine.pdparams")
    for given in (str(file), str(file)[: -len(".pdparams")], file, file.as_uri()):
        loaded = ppghost.build_model("GhostNet_x0_5", class_num=4, pretrained=given)
        for key, tensor in net.state_dict().items():
            np.testing.assert_array_equal(loaded.state_dict()[key].numpy(), tensor.numpy(), err_msg=key)


def test_another_number_of_classes_keeps_the_initial_classifier_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = ppghost.build_model("GhostNet_x0_5", class_num=4)
    file = save(net, tmp_path / "four.pdparams")
    with caplog.at_level(logging.INFO, "ppghost"):
        tuned = ppghost.build_model("GhostNet_x0_5", class_num=9, pretrained=str(file))
    assert tuned.fc_1.weight.shape == [1280, 9]
    assert float(paddle.abs(tuned.fc_1.weight).sum()) > 0
    np.testing.assert_array_equal(tuned.fc_0._conv.weight.numpy(), net.fc_0._conv.weight.numpy())
    assert any("fc_1.bias, fc_1.weight not loaded" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_num": 0}, "class_num is 0.*at least 1"),
        ({"class_num": True}, "class_num is True"),
        ({"class_num": 2.0}, "class_num is 2.0"),
        ({"scale": 1.0}, "GhostNet_x0_5 fixes scale=0.5.*Write a card"),
        ({"droput": 0.1}, "takes no argument 'droput'.*'dropout'"),
        ({"pretrained": 3}, "pretrained is 3"),
        ({"pretrained": ""}, "pretrained is ''"),
        (
            {"pretrained": "/nowhere/at/all"},
            r"No weight file at /nowhere/at/all or /nowhere/at/all\.pdparams",
        ),
        ({"use_ssld": True}, "GhostNet_x0_5 has no published 'ssld' weights.*GhostNet_x1_3"),
        ({"use_ssld": True, "pretrained": True}, "GhostNet_x0_5 has no published 'ssld' weights"),
    ],
)
def test_bad_arguments_are_refused_with_what_is_accepted(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(GhostError, match=message):
        ppghost.build_model("GhostNet_x0_5", **arguments)


def test_a_use_of_ssld_that_chooses_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ppghost"):
        ppghost.build_model("GhostNet_x1_3", use_ssld=True)
    assert "has no effect without pretrained=True" in caplog.text


def test_weights_of_another_model_name_the_model_they_fit(tmp_path: Path) -> None:
    file = save(ppghost.build_model("GhostNet_x1_3", class_num=7), tmp_path / "w.pdparams")
    with pytest.raises(WeightsError, match=r"GhostNet_x1_3 or GhostNet_x1_3_ssld for 7 classes"):
        ppghost.build_model("GhostNet_x0_5", pretrained=str(file))
