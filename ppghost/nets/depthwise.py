"""Depthwise convolution that trains fast on a CPU.

Paddle's own kernel takes four fifths of a GhostNet training step on a CPU. `DepthwiseConv2D` is `nn.Conv2D`
with the same parameters, names and initial values; while it trains on a CPU in float32 it runs the native
kernels of `ppghost.nets.kernels` on Paddle's own memory. Everywhere else (inference, export, GPU, mixed
precision, another dtype, kernel or padding) it is `nn.Conv2D`.

`PPGHOST_DEPTHWISE=native` keeps Paddle's op; `fast` raises where the kernels cannot be built, instead of
saying once, through `logging`, why training is slow.

Brick: imports paddle, `ppghost.errors` and the kernels.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import sys
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import paddle
from paddle import Tensor, nn
from paddle.autograd import PyLayer

from ppghost.errors import ConfigError, GhostError, ToolMissingError
from ppghost.nets.kernels import Shape, load_library

CHOICES = ("auto", "fast", "native")
CHOICE_VARIABLE = "PPGHOST_DEPTHWISE"
KERNEL_SIZES = (3, 5)
STRIDES = (1, 2)

_logger = logging.getLogger(__name__)


class DepthwiseConv2D(nn.Conv2D):
    """A depthwise `nn.Conv2D`, one filter per channel, that trains several times faster on a CPU.

    `float32 [N, C, H, W]` becomes `float32 [N, C, ceil(H/s), ceil(W/s)]` for an odd kernel k, stride s and
    padding (k - 1) / 2. Arguments are those of `nn.Conv2D`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve every channel with its own filter."""
        kernels = fast_kernels() if self.training and self._is_supported(x) else None
        if kernels is None:
            return super().forward(x)
        return _FastDepthwise.apply(x, self.weight, kernels, self._stride[0])

    def _is_supported(self, x: Tensor) -> bool:
        kernel_size = self._kernel_size[0]
        return (
            paddle.in_dynamic_mode()
            and x.place.is_cpu_place()
            and x.dtype == paddle.float32
            and self.weight.dtype == paddle.float32
            and self.weight.place.is_cpu_place()
            and not _is_mixed_precision()
            and x.ndim == 4
            and min(x.shape) > 0
            and x.shape[1] == self._in_channels == self._out_channels == self._groups
            and self.bias is None
            and self._data_format == "NCHW"
            and self._padding_mode == "zeros"
            and kernel_size in KERNEL_SIZES
            and self._stride[0] in STRIDES
            and list(self._kernel_size) == [kernel_size] * 2
            and list(self._stride) == [self._stride[0]] * 2
            and list(self._dilation) == [1, 1]
            and self._updated_padding in ((kernel_size - 1) // 2, [(kernel_size - 1) // 2] * 2)
        )


class Threads(NamedTuple):
    """How the kernels share their work: `GOMP_parallel`, and how many threads are allowed."""

    parallel: Optional[int]
    allowed: Callable[[], int]


class FastKernels:
    """The compiled library, and the threads that it may use."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._threads = _find_threads()
        self.instructions = library.ppghost_depthwise_instructions().decode()

    def forward(self, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        """Return the convolution of `x [N, C, H, W]` with `weight [C, 1, k, k]`; both contiguous float32."""
        shape = _shape_of(x, weight, stride)
        rows, columns = -(-shape.height // stride), -(-shape.width // stride)
        y = paddle.empty([shape.batch, shape.channels, rows, columns], dtype="float32")
        addresses = x.data_ptr(), weight.data_ptr(), y.data_ptr()
        self._check(
            self._library.ppghost_depthwise_forward(
                shape, *addresses, self._threads.allowed(), self._threads.parallel
            )
        )
        return y

    def backward(
        self, x: Tensor, weight: Tensor, dy: Tensor, stride: int, *, of_x: bool, of_weight: bool
    ) -> tuple[Optional[Tensor], Optional[Tensor]]:
        """Return the gradients of `x` and `weight` from that of the output; None for one not asked for."""
        dx = paddle.empty(x.shape, dtype="float32") if of_x else None
        dw = paddle.empty(weight.shape, dtype="float32") if of_weight else None
        addresses = [None if tensor is None else tensor.data_ptr() for tensor in (x, weight, dy, dx, dw)]
        shape = _shape_of(x, weight, stride)
        self._check(
            self._library.ppghost_depthwise_backward(
                shape, *addresses, self._threads.allowed(), self._threads.parallel
            )
        )
        return dx, dw

    @staticmethod
    def _check(result: int) -> None:
        if result:
            raise MemoryError("no memory for the scratch buffers of the depthwise convolution")


class _FastDepthwise(PyLayer):
    """The kernels as a differentiable function of input and weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, kernels: FastKernels, stride: int) -> Tensor:  # noqa: D102 - PyLayer's
        x, weight = x.contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.kernels, ctx.stride = kernels, stride
        return kernels.forward(x, weight, stride)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:  # noqa: D102 - PyLayer's
        x, weight = ctx.saved_tensor()
        of_x, of_weight = not x.stop_gradient, not weight.stop_gradient
        return ctx.kernels.backward(x, weight, dy.contiguous(), ctx.stride, of_x=of_x, of_weight=of_weight)


def fast_kernels() -> Optional[FastKernels]:
    """Return the compiled kernels, or None where Paddle's op is to be used.

    The first call may build them (seconds, once per machine); if that fails, it says so once.

    Raises:
        ConfigError: `PPGHOST_DEPTHWISE` holds another word than auto, fast and native.
        ToolMissingError: it says fast, and the kernels cannot be built.
    """
    choice = os.environ.get(CHOICE_VARIABLE, "auto")
    return _load_kernels(choice)


@functools.cache
def _load_kernels(choice: str) -> Optional[FastKernels]:
    if choice not in CHOICES:
        raise ConfigError(f"{CHOICE_VARIABLE}={choice!r} is not known. Accepted: {', '.join(CHOICES)}.")
    if choice == "native":
        return None
    try:
        return FastKernels(load_library())
    except (GhostError, OSError) as error:
        if choice == "fast":
            raise ToolMissingError(f"{CHOICE_VARIABLE}=fast, but: {error}") from error
        _logger.warning(
            "Training uses Paddle's own depthwise convolution; with ours a step on a CPU takes about a third "
            "of the time. Reason: %s",
            error,
        )
        return None


def _shape_of(x: Tensor, weight: Tensor, stride: int) -> Shape:
    return Shape(*x.shape, weight.shape[-1], stride)


def _is_mixed_precision() -> bool:
    return bool(paddle.base.core._get_amp_attrs()._amp_level != paddle.base.core.AmpLevel.O0)


def _find_threads() -> Threads:
    """Return the threads of an OpenMP runtime that is loaded, Paddle's own first; else the calling one only.

    Paddle's runtime knows Paddle's setting, and its threads are idle when ours would run.
    """
    folder = Path(paddle.__file__).parent / "libs"
    for name in (str(folder / "libiomp5.so"), "libgomp.so.1") if sys.platform == "linux" else ():
        try:
            runtime = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        except OSError:
            continue
        address = ctypes.cast(runtime.GOMP_parallel, ctypes.c_void_p).value
        return Threads(address, runtime.omp_get_max_threads)
    return Threads(None, lambda: 1)
