"""Averaged weights: the exponential moving average of everything in a network's state dict.

House: imports paddle and the rock.
Source: PaddleClas `ppcls/utils/ema.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import paddle
from paddle import Tensor, nn

from ppghost.errors import WeightsError, suggest

_FLOATS = (paddle.float16, paddle.bfloat16, paddle.float32, paddle.float64)


class Ema:
    """The moving average of a network: average = decay x average + (1 - decay) x network.

    It covers parameters and BatchNorm statistics, starts as a copy of the network, and is kept in float32
    where the network is in lower precision. Tensors of integers are copied, not averaged.

    Args:
        net: the network; the average starts from its present state.
        decay: share of the average that is kept, 0 to 1.
        constant: names of sublayers that nothing changes: they are their own average, to the bit.
    """

    def __init__(self, net: nn.Layer, decay: float, constant: Sequence[str] = ()) -> None:
        self.decay = decay
        self._constant = tuple(f"{name}." for name in constant)
        self._average = {
            name: tensor if name.startswith(self._constant) else _wide(tensor)
            for name, tensor in _state(net).items()
        }

    @paddle.no_grad()
    def update(self, net: nn.Layer) -> None:
        """Move the average one step towards `net`, which does not change."""
        for name, tensor in self._changing(net).items():
            average = self._average[name]
            if average.dtype in _FLOATS:
                average.scale_(self.decay)
                average.add_(_cast(tensor, average.dtype) * (1.0 - self.decay))
            else:
                paddle.assign(tensor, output=average)

    @contextlib.contextmanager
    def applied(self, net: nn.Layer) -> Iterator[None]:
        """Lend the average to `net` for a while; afterwards it has its own weights again, bit for bit."""
        state = self._changing(net)
        with paddle.no_grad():
            own = {name: tensor.clone() for name, tensor in state.items()}
            _copy(self._average, state)
        try:
            yield
        finally:
            with paddle.no_grad():
                _copy(own, state)

    def _changing(self, net: nn.Layer) -> dict[str, Tensor]:
        return {name: each for name, each in _state(net).items() if not name.startswith(self._constant)}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the average by the names of the network's state dict; the tensors are the live ones."""
        return dict(self._average)

    @paddle.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from an average that `state_dict` gave.

        Args:
            state: tensors or arrays by name.

        Raises:
            WeightsError: a name is missing or too many, or a shape differs; nothing is changed then.
        """
        for name in sorted(state.keys() ^ self._average.keys()):
            if name not in state:
                raise WeightsError(f"The averaged weights lack '{name}'. {suggest(name, state)}")
            raise WeightsError(
                f"The averaged weights have an unknown '{name}'. {suggest(name, self._average)}"
            )
        for name, average in self._average.items():
            if list(state[name].shape) != list(average.shape):
                raise WeightsError(
                    f"The averaged weight '{name}' has shape {list(state[name].shape)}; "
                    f"the network's has {list(average.shape)}."
                )
        for name, average in self._average.items():
            paddle.assign(state[name], output=average)


def _state(net: nn.Layer) -> dict[str, Tensor]:
    """Return the tensors themselves that the state dict names: under AMP O2 the dict holds float32 copies."""
    tensors = dict(net.named_parameters())
    tensors.update(net.named_buffers())
    return {name: tensors[name] for name in net.state_dict()}


@paddle.no_grad()
def _wide(tensor: Tensor) -> Tensor:
    low = tensor.dtype in (paddle.float16, paddle.bfloat16)
    return tensor.astype("float32") if low else tensor.detach().clone()


def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in target.items():
        paddle.assign(_cast(source[name], tensor.dtype), output=tensor)


def _cast(tensor: Tensor, dtype: paddle.dtype) -> Tensor:
    # Paddle's astype copies even where there is nothing to cast.
    return tensor if tensor.dtype == dtype else tensor.astype(dtype)
