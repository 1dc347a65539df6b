"""When and how layers use the native kernels instead of Paddle's ops: on a CPU, in float32, in training runs.

Paddle's own CPU kernels for depthwise and 1x1 convolutions take nine tenths of a GhostNet training step. The
layers of `ppghost.nets.depthwise`, `ppghost.nets.pointwise` and `ppghost.nets.norm` ask `kernels_for` at
every call; None means Paddle's op. A layer that does not train has it, too, but inside of `fast_evaluation`.

`PPGHOST_DEPTHWISE=native` keeps Paddle's ops for all of them; `fast` raises where the kernels cannot be
built, instead of saying once, through `logging`, why training is slow.

The kernels serve `loss.backward()`. What a `PyLayer` of Paddle cannot do needs `native`, or a network in
evaluation mode: gradients of gradients, a second walk over a retained graph (both are errors that say so),
`paddle.grad` for some of the tensors that want a gradient (Paddle's error: "should return None"), and hooks
that replace the gradient of a layer's output (Paddle calls them and drops what they return).

Brick: imports paddle, `ppghost.errors` and the kernels.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import math
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Union

import paddle
from paddle import Tensor, nn
from paddle.autograd import PyLayer
from paddle.jit.sot.psdb import in_sot
from paddle.profiler import RecordEvent

from ppghost.errors import ConfigError, GhostError, ToolMissingError, TrainingError
from ppghost.nets.kernels import DepthwiseShape, NormShape, PointwiseShape, load_library

CHOICES = ("auto", "fast", "native")
CHOICE_VARIABLE = "PPGHOST_DEPTHWISE"
# What the names of the kernels' events begin with in Paddle's profiler.
NATIVE_EVENT = "native "
# The kernels count pixels in C's int.
MOST_NUMBERS = 2**31 - 1

_logger = logging.getLogger(__name__)

_EVALUATES_FAST: ContextVar[bool] = ContextVar("evaluates_fast", default=False)

Sizes = Union[DepthwiseShape, NormShape, PointwiseShape]


class Threads(NamedTuple):
    """How the kernels share their work: `GOMP_parallel`, and how many threads are allowed."""

    parallel: Optional[int]
    allowed: Callable[[], int]


class NativeKernels:
    """The compiled library, and the threads that it may use.

    Args:
        library: what `ppghost.nets.kernels.load_library` returns.
        threads: how the work is shared.
        most: use nothing better than this instruction set (avx512, avx2, baseline); "" for the best there is.
            It holds for the library, not only for this object.

    Attributes:
        instructions: the instruction set in use.
    """

    def __init__(self, library: ctypes.CDLL, threads: Threads, most: str = "") -> None:
        self._library = library
        self._threads = threads
        self.instructions = str(library.ppghost_choose_instructions(most.encode()).decode())

    def run(self, name: str, sizes: Sizes, *tensors: Optional[Tensor]) -> None:
        """Call the kernel `name` on the memory of contiguous float32 tensors; None where C takes NULL.

        Raises:
            MemoryError: no memory for the scratch buffers.
        """
        addresses = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
        kernel = getattr(self._library, f"ppghost_{name}")
        with RecordEvent(NATIVE_EVENT + name):
            failed = kernel(sizes, *addresses, self._threads.allowed(), self._threads.parallel)
        if failed:
            raise MemoryError(f"no memory for the scratch buffers of {name}")


class Walk:
    """A hook on the output of a native function: refuses a second walk, at which Paddle would crash.

    Paddle frees what a `PyLayer` keeps in the first walk, `retain_graph=True` or not.
    """

    def __init__(self) -> None:
        self._context: Callable[[], Any] = lambda: None

    def watch(self, ctx: Any) -> None:
        """Remember, without keeping it alive, what the walk needs."""
        self._context = weakref.ref(ctx)

    def __call__(self, _gradient: Tensor) -> None:
        """Let the first walk pass.

        Raises:
            TrainingError: it is the second.
        """
        if self._context() is None:
            raise TrainingError(
                "The native kernels cannot walk backward over one graph twice (retain_graph=True). Add the "
                f"losses before backward, or set {CHOICE_VARIABLE}=native."
            )


class NativeFunction(PyLayer):
    """What the functions by native kernels share: they refuse what they would get wrong."""

    @classmethod
    def apply(cls, *arguments: Any) -> Tensor:
        """Call `forward(ctx, walk, *arguments)`, which returns one tensor."""
        walk = Walk()
        y = super().apply(walk, *arguments)
        if not y.stop_gradient:
            y.register_hook(walk)
        return y

    @staticmethod
    def keep(ctx: Any, walk: Walk, *tensors: Tensor) -> None:
        """Save tensors for the backward pass."""
        walk.watch(ctx)
        ctx.save_for_backward(*tensors)
        ctx.versions = [tensor.inplace_version for tensor in tensors]

    @staticmethod
    def kept(ctx: Any) -> tuple[Tensor, ...]:
        """Return what `keep` saved.

        Raises:
            TrainingError: one was changed in place since; or the gradient itself shall have a gradient.
        """
        tensors: tuple[Tensor, ...] = ctx.saved_tensor()
        if any(tensor.inplace_version > version for tensor, version in zip(tensors, ctx.versions)):
            raise TrainingError(
                "A tensor that the backward pass needs was changed in place after the forward pass. Use the "
                "operator that returns a new tensor (relu, not relu_)."
            )
        if paddle.is_grad_enabled():
            raise TrainingError(
                "The native kernels have no gradient of their gradient (create_graph=True). Set "
                f"{CHOICE_VARIABLE}=native."
            )
        return tensors


class NativeConvolution(NativeFunction):
    """A bias-free convolution by the native kernels, as a differentiable function of input and weight."""

    @staticmethod
    def forward(  # noqa: D102 - PyLayer's
        ctx: Any,
        walk: Walk,
        x: Tensor,
        weight: Tensor,
        kernels: NativeKernels,
        name: str,
        sizes: Sizes,
        shape: list[int],
    ) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        NativeFunction.keep(ctx, walk, x, weight)
        ctx.call = kernels, name, sizes
        y = paddle.empty(shape, dtype="float32")
        kernels.run(f"{name}_forward", sizes, x, weight, y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:  # noqa: D102 - PyLayer's
        x, weight = NativeFunction.kept(ctx)
        kernels, name, sizes = ctx.call
        dx, dw = (
            None if tensor.stop_gradient else paddle.empty(tensor.shape, dtype="float32")
            for tensor in (x, weight)
        )
        kernels.run(f"{name}_backward", sizes, x, weight, dy.contiguous(), dx, dw)
        return dx, dw


def kernels_for(layer: nn.Layer, x: Tensor) -> Optional[NativeKernels]:
    """Return the kernels if `layer` trains on `x [N, C, H, W]` in float32 on a CPU; else None.

    Inside of `fast_evaluation` it need not train. What kind of layer it is, and how many channels it wants,
    is the caller's to check.
    """
    is_eligible = (
        (layer.training or _EVALUATES_FAST.get())
        and paddle.in_dynamic_mode()
        and not in_sot()  # to_static's tracing of byte code, which runs in dynamic mode
        and x.place.is_cpu_place()
        and layer.weight is not None
        and x.dtype == layer.weight.dtype == paddle.float32
        and layer.weight.place.is_cpu_place()
        and x.ndim == 4
        and 0 < math.prod(x.shape) <= MOST_NUMBERS
        and paddle.get_device() == "cpu"  # where new tensors are made
        and not _is_mixed_precision()
    )
    return native_kernels() if is_eligible else None


@contextmanager
def fast_evaluation() -> Iterator[None]:
    """Let convolutions use the native kernels in evaluation mode, too: for evaluating on many pictures.

    Elsewhere a network in evaluation mode keeps Paddle's ops, so that what it answers, and what is exported,
    does not depend on a compiler. It holds for this thread.
    """
    token = _EVALUATES_FAST.set(True)
    try:
        yield
    finally:
        _EVALUATES_FAST.reset(token)


def native_kernels() -> Optional[NativeKernels]:
    """Return the compiled kernels, or None where Paddle's ops are to be used.

    The first call may build them (seconds, once per machine); if that fails, it says so once.

    Raises:
        ConfigError: `PPGHOST_DEPTHWISE` holds another word than auto, fast and native.
        ToolMissingError: it says fast, and the kernels cannot be built.
    """
    return _load_kernels(os.environ.get(CHOICE_VARIABLE) or "auto")


@functools.cache
def _load_kernels(choice: str) -> Optional[NativeKernels]:
    if choice not in CHOICES:
        raise ConfigError(f"{CHOICE_VARIABLE}={choice!r} is not known. Accepted: {', '.join(CHOICES)}.")
    if choice == "native":
        return None
    try:
        return NativeKernels(load_library(), find_threads())
    except (GhostError, OSError) as error:
        if choice == "fast":
            raise ToolMissingError(f"{CHOICE_VARIABLE}=fast, but: {error}") from error
        _logger.warning(
            "Paddle's own convolutions are used; with ours a training step on a CPU takes a third of the "
            "time or less. Reason: %s",
            error,
        )
        return None


def _is_mixed_precision() -> bool:
    return bool(paddle.base.core._get_amp_attrs()._amp_level != paddle.base.core.AmpLevel.O0)


def find_threads() -> Threads:
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
