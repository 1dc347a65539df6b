"""The recipe's specs: PaddleClas' names and defaults, refusals, checks across keys, and the scaled rate."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe_reference import RECORDED, bound

from ppghost.config import recipe
from ppghost.errors import ConfigError

# What PaddleClas' code takes and no YAML can say, or says elsewhere.
UNWRITTEN = {"learning_rate", "grad_clip", "name"}
TABLES = {
    "losses": (recipe.LOSSES, recipe.REFUSED_LOSSES),
    "metrics": (recipe.METRICS, recipe.REFUSED_METRICS),
    "optimizers": (recipe.OPTIMIZERS, recipe.REFUSED_OPTIMIZERS),
    "schedules": (recipe.SCHEDULES, recipe.REFUSED_SCHEDULES),
}


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_every_name_of_paddleclas_is_served_or_refused_and_no_name_is_both(kind):
    served, refused = TABLES[kind]
    assert set(served) | set(refused) == set(RECORDED["names"][kind])
    assert not set(served) & set(refused)


def signature_cases() -> list[Any]:
    return [
        pytest.param(kind, name, id=name)
        for kind in ("losses", "metrics", "optimizers", "schedules")
        for name in TABLES[kind][0]
    ]


@pytest.mark.parametrize(("kind", "name"), signature_cases())
def test_keys_and_defaults_are_those_of_paddleclas(kind, name):
    spec = TABLES[kind][0][name]
    fields = {field.name: field for field in dataclasses.fields(spec)}
    refused = getattr(spec, "refused_keys", {})
    for key, default in RECORDED["signatures"][kind][name].items():
        if kind == "optimizers" and key in UNWRITTEN:
            continue
        if key in refused:
            assert default == "obligatory" or default in refused[key].harmless
            continue
        ours = fields[key].default
        if default == "obligatory":
            # Where we are more lenient than PaddleClas, the default is that of its other schedules.
            assert ours is dataclasses.MISSING or ours in (None, 0, 0.0), key
        else:
            assert (list(ours) if isinstance(ours, tuple) else ours) == default, key


def test_regularizers_are_those_of_paddle():
    recorded = RECORDED["signatures"]["regularizers"]
    for name, spec in recipe.REGULARIZERS.items():
        defaults = {field.name: field.default for field in dataclasses.fields(spec)}
        assert defaults == recorded[f"{name}Decay"]


@pytest.mark.parametrize("name", sorted(recipe.REFUSED_LOSSES))
def test_a_refused_loss_says_where_it_is_served(name):
    with pytest.raises(ConfigError, match=name):
        bound([{name: {"weight": 1.0}}], tuple[recipe.AnyLoss, ...])


def test_the_optimizer_of_paddleclas_ghostnet_recipes():
    tree = {
        "name": "Momentum",
        "momentum": 0.9,
        "lr": {"name": "Cosine", "learning_rate": 0.8, "warmup_epoch": 5},
        "regularizer": {"name": "L2", "coeff": 0.00004},
    }
    spec = bound(tree, recipe.AnyOptimizer)
    assert spec == recipe.Momentum(
        momentum=0.9,
        lr=recipe.Cosine(learning_rate=0.8, warmup_epoch=5),
        regularizer=recipe.L2(coeff=0.00004),
    )


def test_a_rate_without_a_name_is_constant_and_numbers_may_be_texts():
    spec = bound({"name": "SGD", "lr": {"learning_rate": "1e-3"}, "regularizer": None}, recipe.AnyOptimizer)
    assert spec.lr == recipe.Constant(learning_rate=0.001)
    assert spec.regularizer is None


def test_optional_lists_of_components_can_be_annotated():
    annotation = typing.Optional[tuple[recipe.AnyMetric, ...]]
    assert bound([{"TopkAcc": {"topk": [1, 5]}}], annotation) == (recipe.TopkAcc((1, 5)),)
    assert bound(None, annotation) is None


COSINE = {"name": "Cosine", "learning_rate": 0.1}
REFUSALS = [
    ({"name": "Cosine", "learning_rate": 0.1, "warmup_epoch": 1, "warmup_start_lr": 0.1}, "start below"),
    ({"name": "Cosine", "learning_rate": 0.1, "warmup_epochs": 1}, "warmup_epoch"),
    ({"name": "Cosine", "learning_rate": -1}, "at least 0"),
    ({"name": "Constant", "learning_rate": 0.1, "warmup_epoch": 1}, "warmup_epoch"),
    (
        {"name": "Step", "learning_rate": 0.1, "step_size": 2.5, "gamma": 0.1, "by_epoch": True},
        "whole number",
    ),
    ({"name": "Step", "learning_rate": 0.1, "step_size": 2, "gamma": 1.0}, "between 0 and 1"),
    ({"name": "MultiStepDecay", "learning_rate": 0.1, "milestones": [3, 2]}, "increase"),
    ({"name": "Piecewise", "decay_epochs": [3]}, "values"),
    ({"name": "Piecewise", "decay_epochs": [3], "values": [0.1]}, "part 2 values"),
    ({"name": "Piecewise", "decay_epochs": [3, 3], "values": [0.1, 0.2, 0.3]}, "increase"),
    ({"name": "ReduceOnPlateau", "learning_rate": 0.1}, "mode: max"),
    ({"name": "ReduceOnPlateau", "learning_rate": 0.1, "mode": "max"}, "by_epoch: True"),
    ({"name": "OneCycleLR", "max_learning_rate": 0.1, "three_phase": True, "phase_pct": 0.5}, "below 0.5"),
    ({"name": "OneCycleLR", "max_learning_rate": 0.1, "verbose": True}, "log lines"),
    ({"name": "Cosine", "learning_rate": 0.1, "epochs": 3}, "Global.epochs"),
    ({"name": "Cosin", "learning_rate": 0.1}, "Cosine"),
]


@pytest.mark.parametrize(
    ("tree", "hint"), REFUSALS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_schedule_that_cannot_be_meant_is_refused_with_a_hint(tree, hint):
    with pytest.raises(ConfigError, match=hint):
        bound(tree, recipe.AnySchedule)


OPTIMIZER_REFUSALS = [
    (
        {"name": "SGD", "lr": COSINE, "weight_decay": 0.1, "regularizer": {"name": "L2", "coeff": 0.1}},
        "keep one",
    ),
    ({"name": "AdamW", "lr": COSINE, "regularizer": {"name": "L2", "coeff": 0.1}}, "weight_decay"),
    ({"name": "AdamW", "lr": COSINE, "clip_grad": 1.0}, "clip_norm"),
    ({"name": "AdamWDL", "lr": COSINE}, "use AdamW"),
    ({"name": "RMSProp", "lr": COSINE, "multi_precision": True}, "float32"),
    ({"name": "Momentum", "lr": COSINE}, "momentum"),
    ({"name": "Adam", "lr": {**COSINE, "auto_scale": True}}, "base_total_batch"),
    ({"name": "Adam"}, "lr"),
]


@pytest.mark.parametrize(("tree", "hint"), OPTIMIZER_REFUSALS)
def test_an_optimizer_that_cannot_be_meant_is_refused_with_a_hint(tree, hint):
    with pytest.raises(ConfigError, match=hint):
        bound(tree, recipe.AnyOptimizer)


def test_keys_that_ask_for_what_happens_anyway_are_accepted():
    tree = {"name": "AdamW", "lr": {**COSINE, "verbose": False}, "clip_grad": None}
    assert bound(tree, recipe.AnyOptimizer) == recipe.AdamW(lr=recipe.Cosine(learning_rate=0.1))


@pytest.mark.parametrize("epsilon", [-0.1, 1.0, 2.0])
def test_smoothing_that_paddleclas_drops_in_silence_is_refused(epsilon):
    with pytest.raises(ConfigError, match="epsilon"):
        bound([{"CELoss": {"epsilon": epsilon}}], tuple[recipe.AnyLoss, ...])


def test_a_loss_per_picture_is_refused():
    with pytest.raises(ConfigError, match="training needs 'mean' or 'sum'"):
        bound([{"CELoss": {"reduction": "none"}}], tuple[recipe.AnyLoss, ...])


def test_amp_and_ema_have_the_defaults_of_paddleclas_engine():
    assert recipe.AMP() == recipe.AMP(
        use_amp=True,
        level="O1",
        use_promote=False,
        use_fp16_test=False,
        scale_loss=1.0,
        use_dynamic_loss_scaling=False,
        dtype="float16",
    )
    assert recipe.EMA().decay == 0.9999


def test_the_published_rate_is_for_2048_pictures():
    spec = recipe.Cosine(learning_rate=0.8, warmup_epoch=5, eta_min=0.08, auto_scale=True)
    scaled = spec.scaled(256)
    assert (scaled.learning_rate, scaled.eta_min, scaled.auto_scale) == (0.1, 0.01, False)
    assert (scaled.warmup_epoch, scaled.warmup_start_lr) == (5, 0.0)
    assert recipe.Cosine(learning_rate=0.8).scaled(256).learning_rate == 0.8
    assert (
        recipe.Cosine(learning_rate=0.8, auto_scale=True, base_total_batch=512).scaled(256).learning_rate
        == 0.4
    )


@given(
    batch=st.integers(1, 10_000),
    base=st.integers(1, 10_000),
    values=st.lists(st.floats(0, 1), min_size=2, max_size=4),
)
def test_scaling_multiplies_every_rate_and_nothing_else(batch, base, values):
    epochs = tuple(range(1, len(values)))
    spec = recipe.Piecewise(decay_epochs=epochs, values=tuple(values), auto_scale=True, base_total_batch=base)
    scaled = spec.scaled(batch)
    assert scaled.values == pytest.approx([value * batch / base for value in values])
    assert scaled.decay_epochs == epochs
    assert scaled.learning_rate is None


def test_recipes_can_be_read_where_there_is_no_paddle():
    code = "import sys; sys.modules['paddle'] = None; import ppghost.config.recipe"
    subprocess.run([sys.executable, "-c", code], check=True)
