"""Mixed precision: where operators run in low precision, and how the loss is scaled.

Paddle has none on the CPU: there `auto_cast`, `decorate` and `GradScaler` of 3.x all switch themselves off,
for float16 and for bfloat16, and the run goes on in float32. So it is refused there, not pretended.

House: imports paddle, the recipe's specs and the rock.
Source: PaddleClas `ppcls/engine/engine.py::_init_amp`, `ppcls/utils/amp.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import paddle
from paddle import Tensor, nn
from paddle.optimizer import Optimizer

from ppghost.config import recipe
from ppghost.errors import ConfigError


def check_device(spec: Optional[recipe.AMP], device: str) -> None:
    """Check that a device has the mixed precision that is asked for.

    Raises:
        ConfigError: it has none.
    """
    if spec is not None and spec.use_amp and device.partition(":")[0] == "cpu":
        raise ConfigError(
            "AMP: Paddle has no mixed precision on the CPU (it would compute in float32 all the same). "
            "Use -o AMP.use_amp=False, or another Global.device."
        )


class MixedPrecision:
    """Casts operators and scales losses as an AMP section says; without one it does nothing.

    Args:
        spec: the section; None and `use_amp: False` are full precision.
        device: `Global.device`, such as "cpu" or "gpu".

    Raises:
        ConfigError: the device has no mixed precision.
    """

    def __init__(self, spec: Optional[recipe.AMP], device: str) -> None:
        self.spec = spec if spec is not None and spec.use_amp else None
        self._scaler: Optional[paddle.amp.GradScaler] = None
        self._low_weights = False
        if self.spec is None:
            return
        check_device(spec, device)
        self._scaler = paddle.amp.GradScaler(
            init_loss_scaling=self.spec.scale_loss,
            use_dynamic_loss_scaling=self.spec.use_dynamic_loss_scaling,
        )

    def autocast(self, *, training: bool) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which a forward pass runs.

        Args:
            training: False for evaluation, which is in full precision unless `use_fp16_test` says else or the
                weights are in low precision, as they are after training at O2.
        """
        spec = self.spec
        if spec is None or not (training or spec.use_fp16_test or self._low_weights):
            return contextlib.nullcontext()
        return paddle.amp.auto_cast(level=spec.level, dtype=spec.dtype, use_promote=spec.use_promote)

    def prepare(self, net: nn.Layer, optimizers: Sequence[Optimizer] = ()) -> None:
        """Cast the weights of `net` to low precision where the level is O2; its state dict stays float32.

        Changes `net` and `optimizers`. Call it once, after the weights are loaded. Without optimizers, for a
        run that only evaluates, it does so where `use_fp16_test` asks for it.
        """
        if self.spec is None or self.spec.level != "O2" or not (optimizers or self.spec.use_fp16_test):
            return
        self._low_weights = True
        paddle.amp.decorate(
            models=net,
            optimizers=list(optimizers) or None,
            level=self.spec.level,
            dtype=self.spec.dtype,
            save_dtype="float32",
        )

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss that `backward` starts from."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def step(self, *optimizers: Optimizer) -> None:
        """Update the weights of all optimizers of a run, unless a scaled gradient overflowed.

        Give all of them in one call: the scale changes after the last one, not between two.
        """
        for optimizer in optimizers:
            if self._scaler is None:
                optimizer.step()
            else:
                self._scaler.step(optimizer)
        if self._scaler is not None:
            self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loss scaler; empty in full precision."""
        return {} if self._scaler is None else dict(self._scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the scale of a former run; nothing to do in full precision or from an empty state."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(dict(state))
