"""The factory: a network from a card's name, with or without weights.

House: may import paddle, nets and the ground; never train, export or plugin.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
from typing import Any, Union

import paddle
from paddle import nn

from ppghost.errors import GhostError, suggest
from ppghost.zoo.card import Card, get_card
from ppghost.zoo.weights import LoadReport, fetch_weights, load_weights, local_weights

logger = logging.getLogger(__name__)

Pretrained = Union[bool, str, "os.PathLike[str]"]

_SSLD = "ssld"


def build_model(
    name: str,
    *,
    class_num: int = 1000,
    pretrained: Pretrained = False,
    use_ssld: bool = False,
    **kwargs: Any,
) -> nn.Layer:
    """Build the network of a card: `float32 [N, 3, H, W]`, normalised, to logits `float32 [N, class_num]`.

    Parameters are named after the card and its count in Paddle's current name generator, "GhostNet_x1_0_0",
    "GhostNet_x1_0_1": any number of networks live in one process and share one optimizer. Optimizer state
    is keyed by these names, so a run that is to be resumed happens in one `paddle.utils.unique_name.guard()`
    (or one process) from its first network to its last step; the n-th network of a name is then called the
    same in every run.

    Args:
        name: a card's name, see `ppghost.list_models`.
        class_num: number of classes. Weights for another number are loaded except for the classifier, which
            starts from its initial values; the log says so.
        pretrained: True for the published weights, a path (".pdparams" may be left out) or an address.
        use_ssld: with `pretrained=True`, take the weights taught by a larger network (SSLD).
        **kwargs: further arguments of the network, such as `dropout`.

    Raises:
        GhostError: unknown name or argument, or a value out of range.
        WeightsError: the weights cannot be had or do not fit.
    """
    card = get_card(name)
    tag = _SSLD if use_ssld else None
    if use_ssld:
        card.get_weights(tag)
        if pretrained is not True:
            logger.info("use_ssld chooses among published weights; it has no effect without pretrained=True.")
    net = build_net(card, class_num=class_num, **kwargs)
    if pretrained is True:
        weights = card.get_weights(tag)
        load_weights(net, fetch_weights(card, tag), classifier=card.classifier, keymap=weights.keymap)
    elif pretrained is not False and pretrained is not None:
        load_pretrained(net, card, pretrained)
    return net


def build_net(card: Card, *, class_num: int = 1000, **kwargs: Any) -> nn.Layer:
    """Build the network of `card` with initial values; names of parameters as `build_model` says.

    Raises:
        GhostError: an argument that the network does not take, or that the card fixes.
    """
    if isinstance(class_num, bool) or not isinstance(class_num, int) or class_num < 1:
        raise GhostError(f"class_num is {class_num!r}; it must be a whole number of at least 1.")
    arch = load_arch(card)
    accepted = set(inspect.signature(arch).parameters) - {"class_num"} - set(card.kwargs)
    for key in kwargs:
        if key in card.kwargs:
            raise GhostError(f"{card.name} fixes {key}={card.kwargs[key]!r}. Write a card for another value.")
        if key not in accepted:
            raise GhostError(
                f"{card.name} takes no argument '{key}'. {suggest(key, {'class_num', *accepted})}"
            )
    prefix = paddle.utils.unique_name.generate(card.name)
    with paddle.utils.unique_name.guard(f"{prefix}_"):
        return arch(class_num=class_num, **card.kwargs, **kwargs)


def load_arch(card: Card) -> type[nn.Layer]:
    """Return the network class that a card names."""
    module, _, name = card.arch.rpartition(".")
    arch: type[nn.Layer] = getattr(importlib.import_module(module), name)
    return arch


def load_pretrained(
    net: nn.Layer, card: Card, source: Union[str, os.PathLike[str]], *, fine_tuning: bool = True
) -> LoadReport:
    """Load weights from a path or address into a network of `card`.

    Args:
        net: a network of `card`.
        card: what it is.
        source: path or address.
        fine_tuning: weights for another number of classes are loaded but for the classifier; otherwise they
            are refused.

    Raises:
        GhostError: `source` is neither a path nor an address.
        WeightsError: the weights cannot be had or do not fit.
    """
    if not isinstance(source, (str, os.PathLike)) or not os.fspath(source):
        raise GhostError(f"pretrained is {source!r}; it must be True, False, a path or an address.")
    return load_weights(net, local_weights(source), classifier=card.classifier if fine_tuning else None)
