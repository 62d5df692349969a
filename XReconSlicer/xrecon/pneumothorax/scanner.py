"""What a CT scanner does to an image: its blur and its noise, measured in a CT and made for one.

So synthetic structures get the sharpness and the grain of the CT they are put into, and a CT can be
given another dose, kernel or slice thickness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.pneumothorax.grids import require_hu
from xrecon.volume import InputError, Volume

AIR_HU = -1000.0
TISSUE_HU = 40.0
# What counts as an edge between lung and wall.
EDGE_HU = 600.0
# Standard deviations, in voxels, between which the blur of a CT is believed.
BLUR_RANGE = (0.3, 1.5)
# Soft and sharp reconstruction kernels: (standard deviation of the noise's grain in mm in the slice,
# share of low frequencies taken out of it). FBP noise has no power at frequency zero.
KERNEL_GRAIN_MM = {"soft": 1.0, "sharp": 0.35}
GRAIN_TAKEN_OUT = 3.0
KERNELS = tuple(KERNEL_GRAIN_MM)


@dataclass(frozen=True)
class Grain:
    """Noise of a CT: standard deviation in HU, and along each array axis the standard deviation in
    voxels of the Gaussian that correlates it."""

    noise_hu: float
    correlation: tuple[float, float, float]


def measure_blur(hu: np.ndarray, mask: np.ndarray, spacing: tuple[float, float, float]) -> tuple[float, ...]:
    """Standard deviation in mm of the Gaussian along each array axis that the edge of a lung shows.

    hu, mask: (z, y, x). At an edge of D HU blurred by sigma, the voxels at a distance of h to either side
    differ by D erf(h / (sqrt(2) sigma)); D is the difference at three times that distance. The upper
    quartile over the faces across an axis decides. The voxel's own size is part of it. 0.3 to 1.5 voxels, 0
    for an ideal step.
    """
    from scipy import ndimage, special

    face = mask & ~ndimage.binary_erosion(mask)
    grown = np.pad(hu.astype(np.float32), 3, mode="edge")
    core = slice(3, -3)

    def apart(axis: int, lag: int) -> np.ndarray:
        ends = (slice(3 + lag, hu.shape[axis] + 3 + lag), slice(3 - lag, hu.shape[axis] + 3 - lag))
        ahead, behind = (tuple(e if a == axis else core for a in range(3)) for e in ends)
        return np.abs(grown[ahead] - grown[behind])[face]

    slopes = [apart(k, 1) / s for k, s in enumerate(spacing)]
    length = np.sqrt(sum(s**2 for s in slopes)) + 1e-6
    found = []
    for axis, size in enumerate(spacing):
        step = apart(axis, 3)
        facing = (slopes[axis] > 0.9 * length) & (step > EDGE_HU)
        share = slopes[axis][facing] * size / step[facing]
        typical = float(np.percentile(np.minimum(share, 1.0), 75.0)) if share.size >= 20 else 0.8
        if typical >= 0.999:
            found.append(0.0)
            continue
        sigma = 1.0 / (np.sqrt(2.0) * special.erfinv(max(typical, 0.05)))
        found.append(float(np.clip(sigma, *BLUR_RANGE)) * size)
    return tuple(found)


def measure_grain(hu: np.ndarray) -> Grain:
    """The noise of a CT by neighbouring voxels in its soft tissue (0 to 80 HU); 0 where there is little.

    Differences at one and two voxels give the correlation: of noise blurred by sigma voxels the squares
    relate as 1 - exp(-1 / 4 sigma^2) to 1 - exp(-4 / 4 sigma^2).
    """
    soft = (hu > 0) & (hu < 80)
    sigmas, variances = [], []
    for axis in range(3):
        squares = []
        for lag in (1, 2):
            ahead, behind = (
                tuple(s if a == axis else slice(None) for a in range(3))
                for s in (slice(lag, None), slice(None, -lag))
            )
            if hu.shape[axis] <= lag:
                continue
            pairs = soft[ahead] & soft[behind]
            steps = (hu[ahead].astype(np.float32) - hu[behind])[pairs]
            squares.append((np.median(np.abs(steps)) / 0.6745) ** 2 if steps.size > 100 else 0.0)
        if len(squares) < 2 or squares[0] <= 0.0 or squares[1] <= 0.0:
            sigmas.append(0.0)
            continue
        grid = np.linspace(0.05, 2.0, 80)
        near, far = (1.0 - np.exp(-(lag**2) / (4.0 * grid**2)) for lag in (1, 2))
        best = int(np.argmin(np.abs(near / far - min(squares[0] / squares[1], 1.0))))
        sigmas.append(float(grid[best]) if grid[best] > 0.3 else 0.0)
        variances.append(squares[0] / 2.0 / near[best])
    return Grain(float(np.sqrt(np.median(variances))) if variances else 0.0, tuple(sigmas))


def make_noise(grain: Grain, shape: tuple[int, int, int], generator: np.random.Generator) -> np.ndarray:
    """Gaussian noise (float32) of that grain."""
    from scipy import ndimage

    if grain.noise_hu <= 0.0:
        return np.zeros(shape, np.float32)
    raw = generator.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(raw, grain.correlation, mode="wrap")
    return noise * np.float32(grain.noise_hu / max(float(noise.std()), 1e-6))


def add_noise(volume: Volume, noise_hu: float, kernel: str = "sharp", seed: int = 0) -> Volume:
    """The CT with more noise: standard deviation `noise_hu`, the grain of a soft or a sharp kernel.

    In the slice the noise is band-limited as filtered back-projection leaves it (a difference of two
    Gaussians: no power at frequency zero); slices are independent where they are 2 mm apart or more.
    Clipped below at the CT's own minimum or -1024. float32. Raises InputError for a volume that is not
    finite HU, an unknown kernel, or a negative noise.
    """
    from scipy import ndimage

    require_hu(volume)
    _require_kernel(kernel)
    if not (np.isfinite(noise_hu) and noise_hu >= 0.0):
        raise InputError(f"expected noise of 0 HU or more, got {noise_hu}")
    if noise_hu == 0.0:
        return volume
    raw = np.random.default_rng(seed).standard_normal(volume.shape, dtype=np.float32)
    # slices are stored along axis 0 in all but reformatted CTs
    fine = [0.6 / s for s in volume.spacing[:1]] + [KERNEL_GRAIN_MM[kernel] / s for s in volume.spacing[1:]]
    wide = [fine[0]] + [f * GRAIN_TAKEN_OUT for f in fine[1:]]
    noise = ndimage.gaussian_filter(raw, fine, mode="wrap") - ndimage.gaussian_filter(raw, wide, mode="wrap")
    noise *= np.float32(noise_hu / float(noise.std()))
    floor = min(float(volume.array.min()), -1024.0)
    array = np.maximum(volume.array.astype(np.float32) + noise, floor)
    return volume.with_array(array, noise=f"{noise_hu:g} HU, {kernel}")


def apply_kernel(volume: Volume, kernel: str) -> Volume:
    """The CT as a softer or sharper kernel shows it: blurred by 0.8 mm in the slice, or with edges
    raised (unsharp mask of 1 mm, half its strength), overshoot included. float32.

    Raises InputError for a volume that is not finite HU or an unknown kernel.
    """
    from scipy import ndimage

    require_hu(volume)
    _require_kernel(kernel)
    array = volume.array.astype(np.float32)
    in_slice = [0.0] + [(0.8 if kernel == "soft" else 1.0) / s for s in volume.spacing[1:]]
    blurred = ndimage.gaussian_filter(array, in_slice, mode="nearest")
    if kernel == "sharp":
        floor = min(float(array.min()), -1024.0)
        blurred = np.maximum(array + 0.5 * (array - blurred), floor)
    return volume.with_array(blurred, kernel=kernel)


def _require_kernel(kernel: str) -> None:
    if kernel not in KERNELS:
        raise InputError(f"expected a kernel out of {', '.join(KERNELS)}, got {kernel!r}")
