"""Train GhostNet_x0_5 with PyTorch on pictures of CIFAR-10: our demo recipe, from our initial weights.

    PYTHON tests/reference/train_with_torch.py INIT.npz DATA_FOLDER [--epochs 15] [--threads 1] [--seed 42]

PYTHON is an interpreter that has torch, NumPy and OpenCV. INIT.npz is a state dict of ours, one array per
key. DATA_FOLDER holds `train_list.txt` and `val_list.txt` ("path class") and the pictures that they name.
The recipe is `configs/demo/GhostNet_x0_5_cifar10.yaml`. Each epoch prints its mean loss, the top-1 accuracy
on the validation pictures and the training speed.

The network is PaddleClas' variant of arXiv:1911.11907. Nothing of ours is imported: it is a second opinion.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every PyTorch reader knows
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

SIDE = 64
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255
BATCH_SIZE = 64
WARMUP_EPOCHS = 1
PEAK_RATE, MOMENTUM, WEIGHT_DECAY = 0.03, 0.9, 4e-5

# The bottlenecks at width 0.5, channel counts already rounded.
KERNELS = (3, 3, 3, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5, 5, 5)
HIDDEN = (8, 24, 36, 36, 60, 120, 100, 92, 92, 240, 336, 336, 480, 480, 480, 480)
OUTPUTS = (8, 12, 12, 20, 20, 40, 40, 40, 40, 56, 56, 80, 80, 80, 80, 80)
GATED = (0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1, 0, 1)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)


class Conv(nn.Sequential):
    """Convolution without bias, batch norm, and ReLU where asked for."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1, *, relu: bool):
        super().__init__()
        self._conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
        self._batch_norm = nn.BatchNorm2d(outputs, eps=1e-5, momentum=0.1)
        self.activation = nn.ReLU(inplace=True) if relu else nn.Identity()


class Gate(nn.Module):
    """Squeeze-and-excitation: each channel times clip(z, 0, 1), z computed from the channel means."""

    def __init__(self, channels: int):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 4)
        self.excitation = nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.excitation(F.relu(self.squeeze(x.mean((2, 3))))).clamp(0, 1)
        return x * gate[:, :, None, None]


class Ghost(nn.Module):
    """Half of the channels from a 1x1 convolution, the other half from a 3x3 depthwise one on those."""

    def __init__(self, inputs: int, outputs: int, relu: bool):
        super().__init__()
        self.primary_conv = Conv(inputs, outputs // 2, 1, relu=relu)
        self.cheap_operation = Conv(outputs // 2, outputs // 2, 3, groups=outputs // 2, relu=relu)

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary_conv(x)
        return torch.cat([x, self.cheap_operation(x)], 1)


class Bottleneck(nn.Module):
    """Expand, halve the size if the stride is 2, gate, project; add the shortcut."""

    def __init__(self, inputs: int, size: int, hidden: int, outputs: int, gated: bool, stride: int):
        super().__init__()
        halves, reshapes = stride == 2, stride == 2 or inputs != outputs
        none = nn.Identity()
        self.ghost_module_1 = Ghost(inputs, hidden, relu=True)
        self.depthwise_conv = Conv(hidden, hidden, size, stride, hidden, relu=False) if halves else none
        self.se_block = Gate(hidden) if gated else none
        self.ghost_module_2 = Ghost(hidden, outputs, relu=False)
        self.shortcut_depthwise = Conv(inputs, inputs, size, stride, inputs, relu=False) if reshapes else none
        self.shortcut_conv = Conv(inputs, outputs, 1, relu=False) if reshapes else none

    def forward(self, x: Tensor) -> Tensor:
        main = self.ghost_module_2(self.se_block(self.depthwise_conv(self.ghost_module_1(x))))
        return main + self.shortcut_conv(self.shortcut_depthwise(x))


class GhostNet(nn.Sequential):
    """GhostNet of width 0.5: float32 [N, 3, H, W], RGB, normalised, becomes logits [N, classes]."""

    def __init__(self, classes: int):
        super().__init__()
        self.conv1 = Conv(3, 8, 3, stride=2, relu=True)
        for index, shape in enumerate(zip((8, *OUTPUTS), KERNELS, HIDDEN, OUTPUTS, GATED, STRIDES)):
            self.add_module(f"_ghostbottleneck_{index}", Bottleneck(*shape))
        self.conv_last = Conv(80, 480, 1, relu=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc_0 = Conv(480, 1280, 1, relu=True)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.2)
        self.fc_1 = nn.Linear(1280, classes)


def net_from(arrays: dict[str, np.ndarray]) -> GhostNet:
    """Return the network with Paddle's weights: linear ones transposed, batch norm's statistics renamed."""
    net = GhostNet(classes=len(arrays["fc_1.bias"]))
    state = {key: value for key, value in net.state_dict().items() if key.endswith("num_batches_tracked")}
    for key, array in arrays.items():
        name = key.replace("norm._mean", "norm.running_mean").replace("norm._variance", "norm.running_var")
        state[name] = torch.from_numpy(array.T.copy() if array.ndim == 2 else array)
    net.load_state_dict(state)
    return net


def read_pictures(folder: Path, list_name: str) -> tuple[Tensor, Tensor]:
    """Return pictures, uint8 [N, 3, SIDE, SIDE], RGB, channels last in memory, and classes, int64 [N]."""
    rows = [line.rsplit(maxsplit=1) for line in (folder / list_name).read_text().splitlines()]
    pictures = np.empty((len(rows), SIDE, SIDE, 3), np.uint8)
    for picture, (path, _) in zip(pictures, rows):
        bgr = cv2.imread(str(folder / path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise FileNotFoundError(f"{folder / path} is not a picture that OpenCV can read.")
        picture[:] = cv2.resize(bgr[:, :, ::-1], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(pictures).permute(0, 3, 1, 2), torch.tensor([int(label) for _, label in rows])


def rate_factor(epoch: float, epochs: int) -> float:
    """Return the share of the peak rate at a fractional epoch: linear from 0, then a cosine to 0."""
    if epoch < WARMUP_EPOCHS:
        return epoch / WARMUP_EPOCHS
    return (1 + math.cos(math.pi * (epoch - WARMUP_EPOCHS) / (epochs - WARMUP_EPOCHS))) / 2


def make_optimizer(net: nn.Module) -> SGD:
    """Return SGD with momentum, decaying everything but batch norm's scale and shift."""
    norms = [p for name, p in net.named_parameters() if "_batch_norm" in name]
    others = [p for name, p in net.named_parameters() if "_batch_norm" not in name]
    groups = [{"params": others}, {"params": norms, "weight_decay": 0.0}]
    return SGD(groups, PEAK_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)


def train_epoch(net: nn.Module, data: tuple[Tensor, Tensor], optimizer: SGD, schedule: LambdaLR) -> float:
    """Learn from every picture once, in random order, half of them mirrored; return the mean loss."""
    pictures, labels = data
    net.train()
    total = 0.0
    for chosen in torch.randperm(len(labels)).split(BATCH_SIZE):
        x = (pictures[chosen] - MEAN) / STD
        mirrored = torch.rand(len(x), 1, 1, 1) < 0.5
        loss = F.cross_entropy(net(torch.where(mirrored, x.flip(3), x)), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item() * len(x)
    return total / len(labels)


@torch.no_grad()
def top1(net: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """Return the share of pictures whose class has the highest logit."""
    net.eval()
    pairs = zip(*(tensor.split(100) for tensor in data))
    return sum((net((x - MEAN) / STD).argmax(1) == y).sum().item() for x, y in pairs) / len(data[1])


def main() -> None:
    """Read everything into memory, train, and print a line per epoch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("init", type=Path)
    parser.add_argument("data_folder", type=Path)
    for name, default in (("--epochs", 15), ("--threads", 1), ("--seed", 42)):
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    train, val = (read_pictures(args.data_folder, name) for name in ("train_list.txt", "val_list.txt"))
    net = net_from(dict(np.load(args.init))).to(memory_format=torch.channels_last)
    optimizer, steps = make_optimizer(net), math.ceil(len(train[1]) / BATCH_SIZE)
    schedule = LambdaLR(optimizer, lambda step: rate_factor(step / steps, args.epochs))
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        loss = train_epoch(net, train, optimizer, schedule)
        speed = len(train[1]) / (time.perf_counter() - start)
        line = f"epoch {epoch:2d}  loss {loss:.4f}  top-1 {top1(net, val):.4f}  {speed:.0f} images/s"
        print(line, flush=True)  # noqa: T201 - the script's whole output


if __name__ == "__main__":
    main()
