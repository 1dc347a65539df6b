"""Samplers against paddle's own, against the definition, and against what must always hold."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppghost.config import loading
from ppghost.data.sampler import Place, Plan, plan_evaluation, plan_training
from ppghost.errors import ConfigError, DataError

io = pytest.importorskip("paddle.io")


def batches_of(plan: Plan) -> list[list[int]]:
    return [
        plan.indices[first:last].tolist()
        for first, last in zip(plan.bounds.tolist(), plan.bounds[1:].tolist())
    ]


@settings(deadline=None)
@given(
    count=st.integers(1, 90),
    batch_size=st.integers(1, 20),
    world=st.integers(1, 5),
    epoch=st.integers(1, 4),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
)
def test_same_batches_as_paddle(
    count: int, batch_size: int, world: int, epoch: int, shuffle: bool, drop_last: bool
) -> None:
    sampler = loading.DistributedBatchSampler(batch_size, shuffle, drop_last)
    for rank in range(world):
        reference = io.DistributedBatchSampler(
            list(range(count)), batch_size, world, rank, shuffle=shuffle, drop_last=drop_last
        )
        reference.set_epoch(epoch - 1)
        expected = list(reference)
        if not expected:
            with pytest.raises(DataError, match="no batch"):
                plan_training(sampler, (count,), Place(epoch, 0, rank, world))
            continue
        plan = plan_training(sampler, (count,), Place(epoch, 0, rank, world))
        assert batches_of(plan) == expected
        assert len(plan) == len(reference)


def test_large_shuffle_is_paddles() -> None:
    reference = io.DistributedBatchSampler(list(range(70000)), 64, 1, 0, shuffle=True)
    reference.set_epoch(6)
    plan = plan_training(loading.DistributedBatchSampler(64, shuffle=True), (70000,), Place(7))
    assert batches_of(plan) == list(reference)


def test_the_seed_is_added_to_the_epoch() -> None:
    sampler = loading.DistributedBatchSampler(8, shuffle=True)
    seeded = plan_training(sampler, (100,), Place(2, seed=40))
    assert seeded.indices.tolist() == plan_training(sampler, (100,), Place(42)).indices.tolist()
    assert seeded.indices.tolist() != plan_training(sampler, (100,), Place(2)).indices.tolist()
    plan_training(sampler, (100,), Place(1, seed=2**32 - 1))
    plan_training(sampler, (100,), Place(1, seed=-1))


@given(
    count=st.integers(1, 200), batch_size=st.integers(1, 20), world=st.integers(1, 9), shuffle=st.booleans()
)
def test_evaluation_takes_each_sample_once(count: int, batch_size: int, world: int, shuffle: bool) -> None:
    sampler = loading.DistributedBatchSampler(batch_size, shuffle)
    plans = [plan_evaluation(sampler, (count,), Place(0, 3, rank, world)) for rank in range(world)]
    taken = [index for plan in plans for index in plan.indices.tolist()]
    assert sorted(taken) == list(range(count))
    sizes = [len(plan.indices) for plan in plans]
    assert max(sizes) - min(sizes) <= 1
    assert all(0 < len(batch) <= batch_size for plan in plans for batch in batches_of(plan))


@settings(deadline=None)
@given(
    count=st.integers(256, 1100),
    batch_size=st.integers(1, 64),
    world=st.integers(1, 4),
    repeats=st.integers(1, 4),
    shuffle=st.booleans(),
)
def test_repeated_augmentation(count: int, batch_size: int, world: int, repeats: int, shuffle: bool) -> None:
    sampler = loading.RASampler(batch_size, shuffle, num_repeats=repeats)
    plans = [plan_training(sampler, (count,), Place(3, 0, rank, world)) for rank in range(world)]
    assert {len(plan.indices) for plan in plans} == {count // 256 * 256 // world}
    order = np.arange(count)
    if shuffle:
        np.random.RandomState(2).shuffle(order)
    # Side by side before dealing out: process r gets positions r, r + world, r + 2 world...
    for rank, plan in enumerate(plans):
        expected = np.repeat(order, repeats).tolist()
        expected += expected[: -len(expected) % world]
        assert plan.indices.tolist() == expected[rank::world][: len(plan.indices)]
    seen = Counter((i, c) for plan in plans for i, c in zip(plan.indices.tolist(), plan.copies.tolist()))
    assert max(seen.values()) <= 2 if count * repeats % world else max(seen.values()) == 1


def test_repeated_augmentation_needs_256_pictures() -> None:
    with pytest.raises(DataError, match="255 pictures"):
        plan_training(loading.RASampler(4), (255,), Place(1))


def test_multi_scale_sizes_order_and_budget() -> None:
    sampler = loading.MultiScaleSampler(scales=(160, 100, 224), first_bs=10)
    plan = plan_training(sampler, (333,), Place(1))
    order = list(range(333))
    random.Random(0).shuffle(order)
    assert plan.indices[:300].tolist() == order[:300]
    assert set(plan.sizes or ()) <= {(160, 160), (96, 96), (224, 224)}
    rows = {(160, 160): 10, (96, 96): int(160 * 160 * 10 / 96**2), (224, 224): 5}
    assert [plan.rows(n) for n in range(len(plan))] == [rows[plan.size(n)] for n in range(len(plan))]
    assert set(plan.indices.tolist()) == set(range(333))


def test_multi_scale_epochs_differ_in_order_only_and_processes_agree_on_sizes() -> None:
    sampler = loading.MultiScaleSampler(scales=((64, 32), (96, 64)), first_bs=6)
    one, two = (plan_training(sampler, (50,), Place(epoch)) for epoch in (1, 2))
    assert one.sizes == two.sizes
    assert one.indices.tolist() != two.indices.tolist()
    ranks = [plan_training(sampler, (51,), Place(1, 5, rank, 2)) for rank in range(2)]
    assert ranks[0].sizes == ranks[1].sizes
    assert ranks[0].bounds.tolist() == ranks[1].bounds.tolist()
    assert {*ranks[0].indices.tolist(), *ranks[1].indices.tolist()} == set(range(51))


def test_multi_scale_evaluation_has_one_size_and_no_repetition() -> None:
    sampler = loading.MultiScaleSampler(scales=(64, 96), first_bs=4, is_training=False)
    plan = plan_evaluation(sampler, (10,), Place(0))
    assert plan.indices.tolist() == list(range(10))
    assert plan.sizes == ((64, 64),) * 3


def mix(ratio: float = 0.5, iterations: int = 7, **part: Any) -> loading.MixSampler:
    parts = (loading.MixedPart(ratio, **part), loading.MixedPart(1 - ratio, **part))
    return loading.MixSampler(8, parts, iterations)


def test_mixed_batches_keep_their_shares_and_go_round() -> None:
    plan = plan_training(mix(0.25, 40, shuffle=True, drop_last=True), (10, 30), Place(1))
    for batch in batches_of(plan):
        assert sum(index < 10 for index in batch) == 2
        assert len(batch) == 8
    first = [index for batch in batches_of(plan) for index in batch if index < 10]
    assert all(sorted(first[k : k + 10]) == list(range(10)) for k in range(0, 80, 10))
    pairs = list(zip(plan.indices.tolist(), plan.copies.tolist()))
    assert len(set(pairs)) == len(pairs)


def test_mixed_epochs_go_on_where_the_last_one_ended() -> None:
    whole = batches_of(plan_training(mix(iterations=14, shuffle=True), (18, 13), Place(1)))
    halves = [batches_of(plan_training(mix(shuffle=True), (18, 13), Place(epoch))) for epoch in (1, 2)]
    assert halves[0] + halves[1] == whole


def test_mixed_batch_larger_than_its_dataset() -> None:
    with pytest.raises(DataError, match="wants 4 samples of a dataset that has 3"):
        plan_training(mix(), (3, 9), Place(1))


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        (loading.RASampler(4), "RASampler repeats"),
        (mix(), "MixSampler repeats"),
        (loading.DistributedBatchSampler(4, drop_last=True), "drop_last"),
    ],
)
def test_evaluation_refuses(sampler: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_evaluation(sampler, (900, 900), Place(0))


def test_batch_sampler_is_for_one_process() -> None:
    with pytest.raises(ConfigError, match="DistributedBatchSampler"):
        plan_training(loading.BatchSampler(4), (9,), Place(1, world_size=2))
    alone = plan_training(loading.BatchSampler(4, shuffle=True), (9,), Place(1))
    shared = plan_training(loading.DistributedBatchSampler(4, shuffle=True), (9,), Place(1))
    assert alone.indices.tolist() == shared.indices.tolist()
