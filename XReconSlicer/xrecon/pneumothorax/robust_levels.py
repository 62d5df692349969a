"""What a CT's own numbers are: noise, and the HU of free air and of aerated lung."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.pneumothorax import morphology

# Noise that smoothing may leave, HU: a fifteenth of the usual 120 HU between air and lung.
RESIDUAL_HU = 8.0
MAX_SMOOTH_MM = 2.5
SOFT_TISSUE_HU = (0.0, 80.0)
DEFAULT_AIR_HU, DEFAULT_LUNG_HU = -1000.0, -870.0
# Scatter and the blur of the trachea's wall raise air, calibration to -1024 lowers it.
PLAUSIBLE_AIR_HU = (-1010.0, -975.0)


@dataclass(frozen=True)
class Levels:
    """air, lung: HU; noise: standard deviation of a voxel, HU; smooth_mm: the Gaussian chosen for it."""

    air: float
    lung: float
    noise: float
    smooth_mm: float

    @property
    def contrast(self) -> float:
        """From air to lung, HU; never below 40, where the two could not be told apart."""
        return max(self.lung - self.air, 40.0)


def noise_sd(hu: np.ndarray) -> float:
    """Standard deviation of the noise in soft tissue, HU: second differences over two voxels along x.

    The median of their size ignores edges; two voxels apart, the noise of a soft kernel is nearly
    independent. 0 where there is too little soft tissue.
    """
    low, high = SOFT_TISSUE_HU
    wide = float(high - low)
    a, b, c = hu[:, :, :-4], hu[:, :, 2:-2], hu[:, :, 4:]
    middle = (a + c) * 0.5
    tissue = (middle > low - wide) & (middle < high + wide) & (b > low - wide) & (b < high + wide)
    if tissue.sum() < 500:
        return 0.0
    second = np.abs(a[tissue] - 2.0 * b[tissue] + c[tissue])
    return float(np.median(second) / 0.6745 / np.sqrt(6.0))


def smoothing_mm(noise: float, spacing: tuple[float, float, float], target: float = RESIDUAL_HU) -> float:
    """The Gaussian, mm, that brings white noise down to `target` HU on this grid (at most 2.5 mm)."""
    for sigma in np.arange(0.4, MAX_SMOOTH_MM + 0.01, 0.1) * 1.0:
        left = noise
        for step in spacing:
            ratio = sigma / step
            left /= np.sqrt(max(1.0, 2.0 * np.sqrt(np.pi) * ratio))
        if left <= target:
            return float(sigma)
    return MAX_SMOOTH_MM


def smoothed(hu: np.ndarray, sigma_mm: float, spacing: tuple[float, float, float]) -> np.ndarray:
    """The Gaussian of `sigma_mm`; an axis with voxels more than three times as wide is left alone."""
    from scipy import ndimage

    sigma = [sigma_mm / s if sigma_mm * 3.0 >= s else 0.0 for s in spacing]
    return ndimage.gaussian_filter(hu, sigma, mode="nearest", truncate=3.0)


def peak(values: np.ndarray, low: float, high: float, width: float) -> float | None:
    """The mode of the values between low and high, HU, of a histogram smoothed by `width`; None if few."""
    from scipy import ndimage

    counts, edges = np.histogram(values, bins=np.arange(low, high + 2.0, 2.0))
    if counts.sum() < 200:
        return None
    smooth = ndimage.gaussian_filter1d(counts.astype(float), width / 2.0)
    return float(edges[int(np.argmax(smooth))] + 1.0)


def air_level(
    g: np.ndarray, airway: np.ndarray, outside: np.ndarray, spacing: tuple[float, float, float]
) -> float:
    """HU of free air: the inside of the trachea, else the air within 3 cm of the skin, else -1000; always
    from -1010 to -975. g: smoothed HU. airway, outside: masks. Constant voxels (padding) are no air."""
    low, high = PLAUSIBLE_AIR_HU
    found = peak(g[morphology.erode(airway, 4.0, spacing)], -1030.0, -900.0, 6.0)
    if found is None:
        skin = morphology.dilate(~outside, 30.0, spacing) & morphology.erode(outside, 6.0, spacing)
        skin[:, :, 1:] &= np.diff(g, axis=2) != 0.0
        found = peak(g[skin], -1030.0, -900.0, 6.0)
    return float(np.clip(DEFAULT_AIR_HU if found is None else found, low, high))


def lung_level(g: np.ndarray, lungs: np.ndarray, air: float, spacing: tuple[float, float, float]) -> float:
    """HU of aerated lung: the mode inside the lungs, 5 mm from their edge, above air."""
    inner = morphology.erode(lungs, 5.0, spacing)
    values = g[inner]
    values = values[values > air + 35.0]
    found = peak(values, air + 35.0, -500.0, 16.0)
    return DEFAULT_LUNG_HU if found is None else found
