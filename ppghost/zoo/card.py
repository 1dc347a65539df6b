"""A card: everything that is known about one model, as data.

A card is what crosses the walls of the house when a model is meant: the factory builds from it, the exporter
writes its preprocessing, the README's table is generated from it, and a test measures what it claims. Figures
that other people published and figures measured here are kept in different fields and never mixed.

Ground: no paddle, nothing of ours but the rock. Idea: torchvision `models/_api.py::Weights`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ppghost.errors import GhostError, WeightsError
from ppghost.registry import Registry


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on ImageNet-1k's validation set, as fractions in [0, 1], and where the figures come from."""

    top1: float
    top5: float
    source: str


@dataclass(frozen=True)
class WeightsTag:
    """One published weight file of a model.

    Attributes:
        tag: name of the training procedure, unique on a card: "imagenet", "ssld".
        url: where the file is published; `PPGHOST_MIRROR` replaces scheme and host.
        sha256: published checksum in hex, None where nobody published one. `ppghost.zoo.weights` then trusts
            the first download, writes its checksum beside the file and refuses every later file that differs.
        size_bytes: published file size, None where unknown.
        keymap: name of the function in `ppghost.zoo.keymaps` that turns the file's keys into ours.
    """

    tag: str
    url: str
    sha256: Optional[str] = None
    size_bytes: Optional[int] = None
    keymap: str = "paddleclas"

    @property
    def file_name(self) -> str:
        """The last part of the address: the name of the file in the cache."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Card:
    """What one model is.

    Attributes:
        name: public name, PaddleClas' where it has one.
        arch: dotted path of the network class, `module.Class`.
        kwargs: arguments of that class that make it this model.
        paper: address of the paper.
        source: where architecture and weights were published.
        licence: SPDX identifier of the published weights.
        params: trainable parameters at `class_num` classes.
        params_with_statistics: the same plus batch norm's means and variances: the numbers in a weight file.
        macs: multiply-accumulates of convolutions and linear layers for one picture of `input_shape`.
        paddle_flops: what `paddle.flops` says of PaddleClas' network: macs plus batch norm and pooling, the
            convention of PaddleClas' model list.
        documented_gflops: the figure on PaddleClas' model page, about twice the macs, in units of 1e9.
        published: accuracy as its authors report it.
        measured: accuracy as measured with this package; None where nobody has.
        weights: published weight files; the first is what `pretrained=True` loads.
        recipe: our training configuration, relative to the repository; None where there is none yet.
        class_num: classes of the published weights.
        classifier: prefix of the state-dict keys of the layer that depends on the number of classes.
        input_shape: channels, height, width.
        resize_short: length in pixels of a picture's shorter side before the centre crop to `input_shape`.
        mean: per channel, RGB, of pixels scaled to [0, 1].
        std: likewise.
    """

    name: str
    arch: str
    kwargs: Mapping[str, Any]
    paper: str
    source: str
    licence: str
    params: int
    params_with_statistics: int
    macs: int
    paddle_flops: int
    documented_gflops: float
    published: Accuracy
    weights: tuple[WeightsTag, ...]
    recipe: Optional[str] = None
    measured: Optional[Accuracy] = None
    class_num: int = 1000
    classifier: str = "fc_1"
    input_shape: tuple[int, int, int] = (3, 224, 224)
    resize_short: int = 256
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def eval_transforms(self) -> list[dict[str, Any]]:
        """Return the evaluation pipeline as a PaddleClas `transform_ops` list, a fresh one at each call.

        It turns an encoded picture into `float32 [height, width, 3]`, RGB, normalised.
        """
        return [
            {"DecodeImage": {"to_rgb": True, "channel_first": False}},
            {"ResizeImage": {"resize_short": self.resize_short}},
            {"CropImage": {"size": self.input_shape[-1]}},
            {
                "NormalizeImage": {
                    "scale": "1.0/255.0",
                    "mean": list(self.mean),
                    "std": list(self.std),
                    "order": "",
                }
            },
        ]

    def get_weights(self, tag: Optional[str] = None) -> WeightsTag:
        """Return the weight file called `tag`, or the first one.

        Raises:
            WeightsError: the model has no such file; the message names the models that have.
        """
        for weights in self.weights:
            if tag is None or weights.tag == tag:
                return weights
        owners = sorted(card.name for card in CARDS.values() if any(w.tag == tag for w in card.weights))
        wanted = "weights" if tag is None else f"'{tag}' weights"
        offered = ", ".join(f"'{weights.tag}'" for weights in self.weights) or "none"
        raise WeightsError(
            f"{self.name} has no published {wanted}. It has: {offered}. "
            f"Models with {wanted}: {', '.join(owners) or 'none'}."
        )


CARDS: Registry[Card] = Registry("model")


def add_card(card: Card) -> Card:
    """Put a card on the table and return it.

    Raises:
        ValueError: the name is taken.
    """
    return CARDS.add(card.name)(card)


def get_card(name: str) -> Card:
    """Return the card of a model.

    Raises:
        GhostError: there is no such model; the message lists the near names.
    """
    return CARDS.get_known(name)


def list_models(pattern: str = "*") -> list[str]:
    """Return the sorted names that match a shell pattern such as "GhostNet_x1*", in any case.

    Raises:
        GhostError: `pattern` is not a string.
    """
    if not isinstance(pattern, str):
        raise GhostError(f"list_models takes a pattern such as 'GhostNet*', not {pattern!r}.")
    return sorted(name for name in CARDS if fnmatch.fnmatchcase(name.lower(), pattern.lower()))
