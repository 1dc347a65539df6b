"""The random mask of FMix: low frequencies, cut off so that a given share of the picture is covered.

Brick of the batch ops. Ground: NumPy; never paddle.
Source: Harris et al., "FMix: Enhancing Mixed Sample Data Augmentation", section 4.
"""

from __future__ import annotations

import math

import numpy as np

from ppghost.vision.op import Rng


def draw_mask(
    height: int, width: int, share: float, decay_power: float, max_soft: float, rng: Rng
) -> np.ndarray:
    """Return float64 [height, width] with values 0 to 1 and a mean of `share`, rounded to pixels.

    Draws from `rng.np`, then one number from `rng.py` that rounds up or down.

    Args:
        height: in pixels, at least 2.
        width: in pixels.
        share: mean of the mask, 0 to 1.
        decay_power: amplitudes fall with the frequency to this power.
        max_soft: share of the picture over which the edge of the mask fades.
        rng: where the numbers come from.
    """
    smooth = _draw_smooth_field(height, width, decay_power, rng).reshape(-1)
    descending = smooth.argsort()[::-1]
    count = math.ceil(share * smooth.size) if rng.py.random() > 0.5 else math.floor(share * smooth.size)
    soft = min(share, 1 - share) if max_soft > min(share, 1 - share) else max_soft
    fade = int(smooth.size * soft)
    low, high = count - fade, count + fade
    mask = np.empty(smooth.size)
    mask[descending[:low]] = 1
    mask[descending[low:high]] = np.linspace(1, 0, high - low)
    mask[descending[high:]] = 0
    return mask.reshape(height, width)


def _draw_smooth_field(height: int, width: int, decay_power: float, rng: Rng) -> np.ndarray:
    """Return a random field [height, width] of low frequencies.

    Real and imaginary parts come from the first two rows of the noise and not from its last axis; so it is in
    the authors' code and in PaddleClas, and the spectrum is then two columns wide. Kept, for equal masks.
    """
    rows = np.fft.fftfreq(height)[:, None]
    # An odd width gets one frequency too many, as in the authors' code; it shifts what is drawn.
    columns = np.fft.fftfreq(width)[: width // 2 + (2 if width % 2 else 1)]
    frequencies = np.sqrt(columns * columns + rows * rows)
    scale = 1.0 / np.maximum(frequencies, 1.0 / max(width, height)) ** decay_power
    noise = scale[:2, :, None] * rng.np.randn(1, *frequencies.shape, 2)[0, :2]
    spectrum = noise[0] + 1j * noise[1]
    return np.fft.irfftn(spectrum, (height, width), axes=(0, 1))
