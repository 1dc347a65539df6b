"""Learning rates: PaddleClas' recorded values, formulas of our own, resume, and short runs."""

from __future__ import annotations

import logging
import math

import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_reference import EPOCHS, RECORDED, STEPS, bound, follow

from ppghost.config import recipe
from ppghost.errors import ConfigError
from ppghost.train.schedule import build_schedule

CASES = RECORDED["schedules"]


def build(case):
    spec = bound({"name": case["name"], **case["keys"]}, recipe.AnySchedule)
    return build_schedule(spec, case["epochs"], case["steps"])


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_values_and_log_names_equal_paddleclas(case, recwarn, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    schedule = build(case)
    assert type(schedule).__name__ == case["type"]
    assert schedule.by_epoch == case["keys"].get("by_epoch", False)
    assert follow(schedule, case["epochs"], case["steps"]) == pytest.approx(
        case["values"], rel=1e-12, abs=1e-15
    )
    assert not recwarn.list
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_every_schedule_is_recorded():
    assert {case["name"] for case in CASES} == set(recipe.SCHEDULES)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_schedule_continues_from_its_state(case, recwarn):
    epochs, steps = case["epochs"], case["steps"]
    moves = epochs if case["keys"].get("by_epoch") else epochs * steps
    whole, first, second = build(case), build(case), build(case)
    move = (lambda one: one.step(0.5)) if case["name"] == "ReduceOnPlateau" else (lambda one: one.step())
    for _ in range(moves // 2):
        move(whole)
        move(first)
    second.set_state_dict(first.state_dict())
    for _ in range(moves - moves // 2 - 1):
        move(whole)
        move(second)
        assert second.last_lr == whole.last_lr
    assert not recwarn.list


@settings(deadline=None, max_examples=50)
@given(
    epochs=st.integers(1, 8),
    steps=st.integers(1, 7),
    warmup=st.integers(0, 10),
    rate=st.floats(0.01, 2.0),
    by_epoch=st.booleans(),
)
def test_cosine_after_a_straight_climb(epochs, steps, warmup, rate, by_epoch):
    spec = recipe.Cosine(learning_rate=rate, warmup_epoch=warmup, by_epoch=by_epoch)
    values = follow(build_schedule(spec, epochs, steps), epochs, steps)
    unit = 1 if by_epoch else steps
    climb = min(warmup, epochs) * unit
    total = epochs * unit
    for update, value in enumerate(values):
        move = update // steps if by_epoch else update
        if move < climb:
            expected = rate * move / climb
        else:
            expected = rate * (1 + math.cos(math.pi * (move - climb) / (total - climb))) / 2
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-9 * rate)


def test_linear_by_epoch_warms_up_for_epochs():
    # PaddleClas counts the steps of the warm-up here, and so would climb for 10 epochs.
    spec = recipe.Linear(learning_rate=0.8, warmup_epoch=2, by_epoch=True)
    values = follow(build_schedule(spec, 6, 5), 6, 5)
    assert values[::5] == pytest.approx([0.0, 0.4, 0.8, 0.6, 0.4, 0.2])


def test_a_warmup_may_be_a_part_of_an_epoch():
    spec = recipe.Cosine(learning_rate=0.8, warmup_epoch=0.5)
    values = follow(build_schedule(spec, 2, 4), 2, 4)
    assert values[:3] == pytest.approx([0.0, 0.4, 0.8])


@settings(deadline=None, max_examples=30)
@given(index=st.integers(0, len(CASES) - 1), factor=st.sampled_from([0.125, 0.5, 4.0]))
def test_scaling_a_recipe_scales_its_whole_curve(index, factor):
    case = CASES[index]
    spec = bound(
        {"name": case["name"], **case["keys"], "auto_scale": True, "base_total_batch": 64}, recipe.AnySchedule
    )
    scaled = build_schedule(spec.scaled(int(64 * factor)), case["epochs"], case["steps"])
    values = follow(scaled, case["epochs"], case["steps"])
    assert values == pytest.approx([value * factor for value in case["values"]], rel=1e-9, abs=1e-12)


def test_an_unscaled_recipe_is_not_built_in_silence():
    with pytest.raises(ValueError, match="scaled"):
        build_schedule(recipe.Cosine(learning_rate=0.1, auto_scale=True), EPOCHS, STEPS)


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        (recipe.OneCycleLR(max_learning_rate=0.1, phase_pct=0.1), "phase_pct"),
        (recipe.Step(learning_rate=0.1, step_size=0.1, gamma=0.5), "step_size"),
    ],
)
def test_a_run_too_short_for_its_schedule_is_refused(spec, hint):
    with pytest.raises(ConfigError, match=hint):
        build_schedule(spec, 1, 5)


# The two others refuse so short a run, see above.
@pytest.mark.parametrize("name", sorted(recipe.SCHEDULES.keys() - {"OneCycleLR", "Step"}))
def test_one_epoch_of_one_step_is_a_run(name):
    case = next(case for case in CASES if case["name"] == name)
    assert build({**case, "epochs": 1, "steps": 1}).last_lr >= 0


def test_schedules_are_paddles_own():
    schedule = build_schedule(recipe.Cosine(learning_rate=0.1, warmup_epoch=1), EPOCHS, STEPS)
    assert isinstance(schedule, paddle.optimizer.lr.LinearWarmup)
    assert isinstance(schedule.learning_rate, paddle.optimizer.lr.CosineAnnealingDecay)
