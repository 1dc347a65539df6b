"""Optimizers: Paddle's own, over the parameters that a configuration chooses.

Decay is decided parameter by parameter. Paddle's parameter groups would replace what the parameters
themselves say (BatchNorm of GhostNet says "no decay"), so there are no groups: a parameter without decay
carries an L2Decay(0.0) of its own. PaddleClas uses groups, which undoes that saying of BatchNorm. Its
Momentum also forgets `one_dim_param_no_weight_decay` unless `no_weight_decay_name` is set too, and with that
one set it decays nothing at all: it builds Paddle's Momentum twice, and the first time empties the groups.

House: imports paddle, the recipe's specs, the schedule brick and the rock.
Source: PaddleClas `ppcls/optimizer/{__init__,optimizer}.py`.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

from paddle import nn, optimizer
from paddle.base.framework import EagerParamBase as Parameter
from paddle.regularizer import L1Decay, L2Decay

from ppghost.config import recipe
from ppghost.errors import ConfigError, GhostError, suggest
from ppghost.train.schedule import build_schedule

_REGULARIZERS = {recipe.L1: L1Decay, recipe.L2: L2Decay}


def build_optimizers(
    specs: Sequence[recipe.Optimizer],
    epochs: int,
    steps_per_epoch: int,
    net: nn.Layer,
    total_batch: Optional[int] = None,
) -> tuple[list[optimizer.Optimizer], list[optimizer.lr.LRScheduler]]:
    """Return an optimizer and its learning rate for each spec.

    Frozen parameters (`stop_gradient`) are left out, and so is what no `scope` covers. Parameters that the
    configuration frees from decay get an L2Decay(0.0) as their regularizer.

    Args:
        specs: what the configuration says.
        epochs: length of the run.
        steps_per_epoch: updates of the weights in an epoch.
        net: holds the parameters; several networks may be its sublayers.
        total_batch: pictures per update: batch of a card x cards x accumulated steps; `auto_scale` needs it.

    Raises:
        ConfigError: a scope finds nothing to train, or two optimizers train the same parameter.
        GhostError: two parameters have one name, and would share their momentum.
        ValueError: `auto_scale` is on and `total_batch` is not given.
    """
    _check_names(net)
    chosen = [_in_scope(net, spec.scope) for spec in specs]
    _check_disjoint(specs, chosen)
    built = []
    for spec, named in zip(specs, chosen):
        if spec.lr.auto_scale and total_batch is None:
            raise ValueError("auto_scale needs total_batch")
        schedule = build_schedule(spec.lr.scaled(total_batch or 0), epochs, steps_per_epoch)
        built.append((_optimizer(spec, schedule, named), schedule))
    return [made for made, _ in built], [schedule for _, schedule in built]


def load_states(
    optimizers: Sequence[optimizer.Optimizer], states: Sequence[Mapping[str, Any]], origin: str
) -> None:
    """Continue with the states that a former run saved; all of each, or nothing.

    Args:
        optimizers: of this run.
        states: what `state_dict()` of each gave; the learning rate's state is among them.
        origin: the file that they come from, for messages.

    Raises:
        GhostError: they are not the states of these optimizers, or not of their learning rates.
    """
    if len(states) != len(optimizers):
        raise GhostError(
            f"{origin} holds {len(states)} optimizer(s), the configuration has {len(optimizers)}. {_RESUME}"
        )
    for made, state in zip(optimizers, states):
        _check_state(made, state, origin)
        made.set_state_dict(dict(state))


_RESUME = (
    "Resume with the program and the configuration that wrote it, or start anew from the weights with "
    "-o Global.pretrained_model=... instead of Global.checkpoints."
)


def _check_state(made: optimizer.Optimizer, state: Mapping[str, Any], origin: str) -> None:
    """Check that Paddle, which leaves out in silence what does not fit, will take all of a state."""
    saved, own = state.get("LR_Scheduler", {}), made._learning_rate.state_dict()
    if saved.keys() != own.keys():
        raise GhostError(
            f"{origin} belongs to another learning rate: it has {sorted(saved)}, "
            f"{type(made._learning_rate).__name__} has {sorted(own)}. {_RESUME}"
        )
    names = tuple(f"{parameter.name}_" for parameter in made._parameter_list)
    momenta = [key for key in state if key not in ("LR_Scheduler", "master_weights")]
    foreign = [key for key in momenta if not key.startswith(names)]
    bare = [name[:-1] for name in names if not any(key.startswith(name) for key in momenta)]
    if foreign or (momenta and bare):
        found = f"it has {foreign[0]}" if foreign else f"it lacks {bare[0]}"
        raise GhostError(f"{origin} belongs to other parameters ({found}); momentum would be lost. {_RESUME}")


def _check_names(net: nn.Layer) -> None:
    owners: dict[str, str] = {}
    for path, parameter in net.named_parameters():
        other = owners.setdefault(parameter.name, path)
        if other != path:
            raise GhostError(
                f"The parameters '{other}' and '{path}' are both named '{parameter.name}' by Paddle, so an "
                "optimizer would give them one momentum. Build both networks under one "
                "paddle.utils.unique_name.guard()."
            )


def _in_scope(net: nn.Layer, scope: str) -> dict[str, Parameter]:
    """Return the trainable parameters of a scope, by their names in the network's state dict."""
    roots = _roots(net, scope)
    named = {
        path: parameter
        for path, parameter in net.named_parameters()
        if not parameter.stop_gradient and path.startswith(tuple(roots))
    }
    if not named:
        raise ConfigError(
            f"Optimizer.scope: '{scope}' finds no parameter to train in {type(net).__name__}. "
            f"{suggest(scope, ['all', *(path for path, _ in net.named_children())], most=30)}"
        )
    return named


def _roots(net: nn.Layer, scope: str) -> list[str]:
    """Return the prefixes of the parameter names that a scope covers."""
    if scope in ("all", type(net).__name__):
        return [""]
    if isinstance(getattr(net, scope, None), nn.Layer):
        return [f"{scope}."]
    if scope.endswith("Loss"):
        raise ConfigError(
            f"Optimizer.scope: '{scope}' names a loss; the losses of classification train nothing."
        )
    try:
        pattern = re.compile(scope)
    except re.error as error:
        raise ConfigError(f"Optimizer.scope: '{scope}' is no regular expression: {error}.") from None
    return [f"{path}." for path, _ in net.named_sublayers() if pattern.fullmatch(path)]


def _check_disjoint(specs: Sequence[recipe.Optimizer], chosen: Sequence[dict[str, Parameter]]) -> None:
    owners: dict[str, str] = {}
    for spec, named in zip(specs, chosen):
        for path in named:
            if path in owners:
                raise ConfigError(
                    f"Optimizer: the scopes '{owners[path]}' and '{spec.scope}' both train '{path}'; "
                    "narrow one of them."
                )
        owners.update(dict.fromkeys(named, spec.scope))


def _undecayed(spec: Any, named: dict[str, Parameter]) -> list[Parameter]:
    """Return the parameters that `no_weight_decay_name` and `one_dim_param_no_weight_decay` name."""
    words = (spec.no_weight_decay_name or "").split()
    return [
        parameter
        for path, parameter in named.items()
        if any(word in path for word in words)
        or (spec.one_dim_param_no_weight_decay and len(parameter.shape) == 1)
    ]


def _free_from_penalty(spec: Any, named: dict[str, Parameter]) -> None:
    for parameter in _undecayed(spec, named):
        parameter.regularizer = L2Decay(0.0)


def _penalty(spec: recipe.Optimizer) -> Any:
    if spec.regularizer is None:
        # Momentum overlooks a decay that is an int.
        return None if spec.weight_decay is None else float(spec.weight_decay)
    return _REGULARIZERS[type(spec.regularizer)](spec.regularizer.coeff)


def _make(
    kind: Callable[..., optimizer.Optimizer],
    spec: recipe.Optimizer,
    schedule: optimizer.lr.LRScheduler,
    named: dict[str, Parameter],
    **own: Any,
) -> optimizer.Optimizer:
    """Return a Paddle optimizer with the arguments that all share and its own."""
    common = {
        "learning_rate": schedule,
        "weight_decay": _penalty(spec),
        "grad_clip": None if spec.clip_norm is None else nn.ClipGradByNorm(clip_norm=spec.clip_norm),
    }
    parameters = list(named.values())
    with _regularizers_aside(parameters):
        return kind(parameters=parameters, **{**common, **own})


@contextlib.contextmanager
def _regularizers_aside(parameters: Sequence[Parameter]) -> Iterator[None]:
    """Hide the regularizers of parameters while Paddle builds an optimizer.

    It reads them only to log that they win over the optimizer's, through the root logger, which it then
    configures for the whole process.
    """
    own = [parameter.regularizer for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.regularizer = None
        yield
    finally:
        for parameter, regularizer in zip(parameters, own):
            parameter.regularizer = regularizer


@functools.singledispatch
def _optimizer(spec: Any, schedule: Any, named: dict[str, Parameter]) -> optimizer.Optimizer:
    """Return the Paddle optimizer of a spec."""
    raise TypeError(f"no optimizer is written for {type(spec).__name__}")


@_optimizer.register(recipe.SGD)
def _(spec: recipe.SGD, schedule: Any, named: dict[str, Parameter]) -> optimizer.Optimizer:
    return _make(optimizer.SGD, spec, schedule, named, multi_precision=spec.multi_precision)


@_optimizer.register(recipe.Momentum)
def _(spec: recipe.Momentum, schedule: Any, named: dict[str, Parameter]) -> optimizer.Optimizer:
    _free_from_penalty(spec, named)
    return _make(
        optimizer.Momentum,
        spec,
        schedule,
        named,
        momentum=spec.momentum,
        use_nesterov=spec.use_nesterov,
        multi_precision=spec.multi_precision,
        # One call for all tensors: the same bits in less time (GhostNet_x1_0: 9 instead of 12 ms).
        use_multi_tensor=True,
    )


@_optimizer.register(recipe.Adam)
def _(spec: recipe.Adam, schedule: Any, named: dict[str, Parameter]) -> optimizer.Optimizer:
    return _make(
        optimizer.Adam,
        spec,
        schedule,
        named,
        beta1=spec.beta1,
        beta2=spec.beta2,
        epsilon=spec.epsilon,
        lazy_mode=spec.lazy_mode,
        multi_precision=spec.multi_precision,
    )


@_optimizer.register(recipe.RMSProp)
def _(spec: recipe.RMSProp, schedule: Any, named: dict[str, Parameter]) -> optimizer.Optimizer:
    _free_from_penalty(spec, named)
    return _make(
        optimizer.RMSProp,
        spec,
        schedule,
        named,
        momentum=spec.momentum,
        rho=spec.rho,
        epsilon=spec.epsilon,
    )


@_optimizer.register(recipe.AdamW)
def _(spec: recipe.AdamW, schedule: Any, named: dict[str, Parameter]) -> optimizer.Optimizer:
    undecayed = {parameter.name for parameter in _undecayed(spec, named)}
    return _make(
        optimizer.AdamW,
        spec,
        schedule,
        named,
        beta1=spec.beta1,
        beta2=spec.beta2,
        epsilon=spec.epsilon,
        multi_precision=spec.multi_precision,
        # Its decay is decoupled: the regularizers of parameters have no say in it.
        weight_decay=spec.weight_decay or 0.0,
        apply_decay_param_fun=lambda name: name not in undecayed,
    )
