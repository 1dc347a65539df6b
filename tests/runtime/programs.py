"""Small programs for the engine, and what they compute, written as definitions in float64."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

import numpy as np

Compute = Callable[[list[np.ndarray]], np.ndarray]


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int = 1) -> np.ndarray:
    """Return a convolution with padding kernel // 2; `weight [O, I, k, k]`, depthwise where I is 1."""
    reach = weight.shape[-1] // 2
    padded = np.pad(x, [(0, 0), (0, 0), (reach, reach), (reach, reach)])
    rows, columns = (-(-side // stride) for side in x.shape[2:])
    is_depthwise = weight.shape[1] == 1 and x.shape[1] == weight.shape[0]
    y = np.zeros((len(x), len(weight), rows, columns)) + bias[:, None, None]
    for r in range(weight.shape[2]):
        for c in range(weight.shape[3]):
            seen = padded[:, :, r : r + stride * rows : stride, c : c + stride * columns : stride]
            if is_depthwise:
                y += weight[None, :, 0, r, c, None, None] * seen
            else:
                y += np.einsum("oi,nihw->nohw", weight[:, :, r, c], seen)
    return y


def activate(y: np.ndarray, activation: str) -> np.ndarray:
    """Return `y`, its positive part, or it cut to [0, 1]; what is not a number stays so."""
    return {"none": y, "relu": np.where(y < 0, 0, y), "clip": np.where(y < 0, 0, np.where(y > 1, 1, y))}[
        activation
    ]


@dataclass
class Sketch:
    """A program as it grows, with its weights and with what each step computes.

    Attributes:
        seed: of the random weights.
        channels: of the picture.
        cut: whether arrays with an even number of channels are stored in two halves.
        arrays: weight and bias of each convolution and linear layer, in the order in which they were added.
    """

    seed: int
    channels: int = 3
    cut: bool = False
    lines: list[str] = field(default_factory=list)
    computes: list[Compute] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    weights: bytearray = field(default_factory=bytearray)
    arrays: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._draw = np.random.RandomState(self.seed)
        self.widths.append(self.channels)

    def _store(self, name: str, array: np.ndarray) -> str:
        """Append an array to the weights, at an odd byte; return the words that say where it lies."""
        parts, words = [array], [name]
        if self.cut and len(array) % 2 == 0:
            parts, words = np.split(array, 2, 0), [name, f"{name}_out"]
        elif self.cut and array.ndim > 1 and array.shape[1] % 2 == 0:
            parts, words = np.split(array, 2, 1), [name, f"{name}_in"]
        located = []
        for word, part in zip(words, parts):
            self.weights += b"?" * 3
            located.append(f"{word}={len(self.weights)}")
            self.weights += np.ascontiguousarray(part, "float32").tobytes()
        return " ".join(located)

    def _random(self, *shape: int) -> np.ndarray:
        scale = 1.0 / np.sqrt(max(1, int(np.prod(shape[1:]))))
        self.arrays.append((self._draw.randn(*shape) * scale).astype("float32"))
        return self.arrays[-1]

    def _add(self, words: str, width: int, compute: Compute) -> int:
        kind, rest = words.split(" ", 1)
        self.lines.append(f"{kind} value={len(self.lines) + 1} {rest}")
        self.computes.append(compute)
        self.widths.append(width)
        return len(self.lines)

    def conv(self, kind: str, source: int, channels: int, kernel: int, stride: int, activation: str) -> int:
        """Append a stem, a depthwise or a 1x1 convolution."""
        depth = 1 if kind == "depthwise" else self.widths[source]
        weight, bias = self._random(channels, depth, kernel, kernel), self._random(channels)
        sizes = "" if kind == "depthwise" else f"channels={channels} "
        sizes += "" if kind == "pointwise" else f"kernel={kernel} stride={stride} "
        words = f"{kind} from={source} {sizes}activation={activation} "
        words += f"{self._store('weight', weight)} {self._store('bias', bias)}"
        return self._add(
            words, channels, lambda v: activate(convolve(v[source], weight, bias, stride), activation)
        )

    def ghost(
        self,
        source: int,
        half: int,
        kernel: int,
        activation: str,
        gate: Optional[int] = None,
        addend: Optional[int] = None,
    ) -> int:
        """Append a ghost module."""
        weight, bias = self._random(half, self.widths[source], 1, 1), self._random(half)
        cheap, cheap_bias = self._random(half, 1, kernel, kernel), self._random(half)
        words = f"ghost from={source} channels={half} kernel={kernel} activation={activation} "
        words += "" if gate is None else f"gate={gate} "
        words += "" if addend is None else f"add={addend} "
        words += f"{self._store('weight', weight)} {self._store('bias', bias)} "
        words += f"{self._store('cheap_weight', cheap)} {self._store('cheap_bias', cheap_bias)}"

        def compute(v: list[np.ndarray]) -> np.ndarray:
            x = v[source] if gate is None else v[source] * v[gate][:, :, None, None]
            first = activate(convolve(x, weight, bias), activation)
            ghosts = activate(convolve(first, cheap, cheap_bias), activation)
            y = np.concatenate([first, ghosts], 1)
            return y if addend is None else y + v[addend]

        return self._add(words, 2 * half, compute)

    def mean(self, source: int) -> int:
        """Append the mean over the pixels."""
        return self._add(f"mean from={source}", self.widths[source], lambda v: v[source].mean((2, 3)))

    def dense(self, source: int, channels: int, activation: str, order: str = "oi") -> int:
        """Append a linear layer."""
        weight, bias = self._random(channels, self.widths[source]), self._random(channels)
        cut, self.cut = self.cut, self.cut and order == "oi"
        stored = self._store("weight", weight if order == "oi" else weight.T)
        self.cut = cut
        words = f"dense from={source} channels={channels} activation={activation} order={order} {stored} "
        return self._add(
            words + self._store("bias", bias),
            channels,
            lambda v: activate(v[source] @ weight.T.astype("float64") + bias, activation),
        )

    def gate(self, source: int, squeezed: int) -> int:
        """Append a squeeze-and-excitation's gate."""
        return self.dense(
            self.dense(self.mean(source), squeezed, "relu"), self.widths[source], "clip", order="io"
        )

    def softmax(self, source: int) -> int:
        """Append the softmax."""

        def compute(v: list[np.ndarray]) -> np.ndarray:
            powers = np.exp(v[source] - v[source].max(1, keepdims=True))
            return powers / powers.sum(1, keepdims=True)

        return self._add(f"softmax from={source}", self.widths[source], compute)

    def text(self) -> str:
        """Return the program."""
        head = ["ghost 1", f"input channels={self.channels}", f"weights bytes={len(self.weights)}"]
        return "\n".join([*head, *self.lines, f"output from={len(self.lines)}", ""])

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write program and weights; return their paths."""
        program, weights = folder / "net.ghost", folder / "net.bin"
        program.write_text(self.text(), encoding="ascii")
        weights.write_bytes(bytes(self.weights))
        return program, weights

    def expected(self, images: np.ndarray) -> np.ndarray:
        """Return what the program computes, in float64."""
        values = [images.astype("float64")]
        for compute in self.computes:
            values.append(compute(values))
        return values[-1]


def bottleneck(
    sketch: Sketch, source: int, hidden: int, out: int, kernel: int, stride: int, has_gate: bool
) -> int:
    """Append a ghost bottleneck, as GhostNet has them; half channel counts."""
    shortcut = source
    if stride == 2 or sketch.widths[source] != 2 * out:
        shortcut = sketch.conv("depthwise", source, sketch.widths[source], kernel, stride, "none")
        shortcut = sketch.conv("pointwise", shortcut, 2 * out, 1, 1, "none")
    value = sketch.ghost(source, hidden, 3, "relu")
    if stride == 2:
        value = sketch.conv("depthwise", value, 2 * hidden, kernel, 2, "none")
    gate = sketch.gate(value, max(1, hidden // 2)) if has_gate else None
    return sketch.ghost(value, out, 3, "none", gate, shortcut)
