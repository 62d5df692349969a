"""How near one image is to another, each metric with its range, axis and definition stated.

Numbers of this field cannot be compared across papers unless the data range, the mask and the axis
are the same: the range alone moves PSNR by 4.3 dB between two published codes, SSIM by six points.
So `data_range` has no default here, and slice-wise variants have to be asked for.

Images are arrays (z, y, x) of one shape; masks and segmentations are arrays whose voxels count as
inside where they are not zero. All functions raise InputError for shapes that differ and for
images with NaN or infinite voxels. Reconstructions are best clipped to the reference's window
first, as X-Recon's evaluation does; nothing is clipped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from xrecon.evaluation.surface_distance import (
    bounding_box,
    masks,
    surface_distances,
    voxel_spacing,
)
from xrecon.volume import InputError

# X-Recon's and X2CT-GAN's evaluation give this to a slice without any error.
IDENTICAL_SLICE_DB = 100.0
SSIM_WINDOW = 7
_AXES = (None, 0, 1, 2, "mean")


# -- images --------------------------------------------------------------------------------------
def mae(prediction: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean absolute difference over all voxels (of the mask); the unit of the images, 0 is best."""
    p, r = _voxels(prediction, reference, mask)
    return float(np.abs(p - r).mean())


def mse(prediction: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean squared difference over all voxels (of the mask); squared unit of the images, 0 is best."""
    p, r = _voxels(prediction, reference, mask)
    return float(np.square(p - r).mean())


def psnr(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    data_range: float,
    axis: int | str | None = None,
    mask: np.ndarray | None = None,
) -> float:
    """Peak signal-to-noise ratio 20 log10(data_range / RMSE) in dB, higher is better.

    data_range: width of the window of possible values in the unit of the images (2500 for HU from
        -1024 to 1476, 1 for the same scaled to 0..1), not what this image happens to span.
    axis: None, one RMSE over the whole volume (infinite for identical volumes).
        0, 1, 2: the PSNR of each slice across that axis, averaged over slices; a slice without any
        error counts as 100 dB, which lifts the mean where both images are air.
        "mean": the mean of the three, the "PSNR-avg" of X-Recon's and X2CT-GAN's code.
    mask: with axis None, only these voxels.
    """
    data_range = _positive(data_range, "data_range")
    _known_axis(axis, mask)
    if axis is None:
        return _decibel(mse(prediction, reference, mask), data_range, math.inf)
    if axis == "mean":
        return float(np.mean([psnr(prediction, reference, data_range=data_range, axis=a) for a in range(3)]))
    p, r = _pair(prediction, reference)
    others = tuple(a for a in range(3) if a != axis)
    errors = np.square(p - r).mean(axis=others)
    return float(np.mean([_decibel(e, data_range, IDENTICAL_SLICE_DB) for e in errors]))


def ssim(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    data_range: float,
    axis: int | str | None = None,
    mask: np.ndarray | None = None,
) -> float:
    """Structural similarity (Wang et al., IEEE Trans Image Process 2004), -1..1, 1 is best.

    Uniform windows of 7 voxels a side, sample covariance, K1 0.01, K2 0.03, as scikit-image.

    data_range: as in `psnr`. Left at a library's default it has inflated published values.
    axis: None, windows of 7x7x7 voxels, averaged where they lie wholly inside the volume.
        0, 1, 2: windows of 7x7 pixels in the slices across that axis, averaged over slices.
        "mean": the mean of the three, the "SSIM-avg" of X-Recon's code.
    mask: with axis None, the average is over windows centred on these voxels (near the border the
        volume is mirrored).

    Raises InputError when a side that windows run along is shorter than 7 voxels.
    """
    from skimage.metrics import structural_similarity

    data_range = _positive(data_range, "data_range")
    _known_axis(axis, mask)
    if axis == "mean":
        return float(np.mean([ssim(prediction, reference, data_range=data_range, axis=a) for a in range(3)]))
    p, r = _pair(prediction, reference)
    if min(n for a, n in enumerate(p.shape) if a != axis) < SSIM_WINDOW:
        raise InputError(f"expected images of at least {SSIM_WINDOW} voxels a side for SSIM, got {p.shape}")
    options = {"data_range": data_range, "win_size": SSIM_WINDOW}
    if axis is not None:
        return float(structural_similarity(p, r, channel_axis=axis, **options))
    if mask is None:
        return float(structural_similarity(p, r, **options))
    _, everywhere = structural_similarity(p, r, full=True, **options)
    return float(everywhere[_inside(mask, p.shape)].mean())


def cosine_similarity(prediction: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """p.r / (|p| |r|) over all voxels (of the mask), -1..1, 1 is best; nan where one is all zero.

    Blind to a factor but not to an offset, so it depends on where zero lies: X-Recon's value is
    for images scaled so that -1024 HU is 0. In HU it is another number.
    """
    p, r = _voxels(prediction, reference, mask)
    size = float(np.linalg.norm(p) * np.linalg.norm(r))
    return float(p @ r) / size if size else math.nan


# -- segmentations: overlap ----------------------------------------------------------------------
def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """2 |P and R| / (|P| + |R|), 0..1, 1 is best.

    nan when both are empty: nothing was to be found, which is no measure of success. 0 when one is.
    """
    p, r = masks(prediction, reference)
    total = np.count_nonzero(p) + np.count_nonzero(r)
    return 2.0 * np.count_nonzero(p & r) / total if total else math.nan


def jaccard(prediction: np.ndarray, reference: np.ndarray) -> float:
    """|P and R| / |P or R|, 0..1, 1 is best; nan when both are empty, 0 when one is."""
    p, r = masks(prediction, reference)
    union = np.count_nonzero(p | r)
    return np.count_nonzero(p & r) / union if union else math.nan


def volume_error_ml(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """Volume of the prediction less that of the reference in ml; 0 is best, negative is too small.

    spacing: voxel size in mm in array order (z, y, x).
    """
    p, r = masks(prediction, reference)
    voxel_ml = math.prod(voxel_spacing(spacing)) / 1000.0
    return (np.count_nonzero(p) - np.count_nonzero(r)) * voxel_ml


def relative_volume_error(prediction: np.ndarray, reference: np.ndarray) -> float:
    """(V(P) - V(R)) / V(R), 0 is best, -1 is nothing found; nan when the reference is empty."""
    p, r = masks(prediction, reference)
    truth = np.count_nonzero(r)
    return (np.count_nonzero(p) - truth) / truth if truth else math.nan


# -- segmentations: distance of surfaces ---------------------------------------------------------
def hd95(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """95 % Hausdorff distance in mm, 0 is best, as MONAI: the larger of the two directed ones.

    The directed distance is the 95th percentile of the distances from each surface voxel of one
    mask to the nearest surface voxel of the other. Packages that pool both directions give less.
    spacing: mm (z, y, x). nan when a mask is empty: no distance exists; Dice tells that case.
    """
    return _hd95(*surface_distances(prediction, reference, spacing))


def asd(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """Mean distance in mm from the prediction's surface voxels to the reference's surface, 0 is best.

    One way only (MONAI's and MedPy's "asd"): a prediction that misses most of the reference can
    still be near it; `assd` is the fair one. spacing: mm (z, y, x). nan when a mask is empty.
    """
    return _asd(*surface_distances(prediction, reference, spacing))


def assd(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """Mean distance in mm over the surface voxels of both masks to the other's surface, 0 is best.

    Both directions pooled, as MONAI's symmetric distance. spacing: mm (z, y, x). nan when a mask
    is empty.
    """
    return _assd(*surface_distances(prediction, reference, spacing))


def _hd95(there: np.ndarray, back: np.ndarray) -> float:
    return float(max(np.percentile(there, 95), np.percentile(back, 95))) if there.size else math.nan


def _asd(there: np.ndarray, back: np.ndarray) -> float:
    return float(there.mean()) if there.size else math.nan


def _assd(there: np.ndarray, back: np.ndarray) -> float:
    return float((there.sum() + back.sum()) / (there.size + back.size)) if there.size else math.nan


def compare_masks(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
) -> dict[str, float | None]:
    """All of the above for two masks, the surfaces measured once: names as in the functions' units.

    dice, jaccard (0..1); hd95_mm, asd_mm, assd_mm; volume_error_ml (prediction less reference),
    relative_volume_error. None, "not applicable", where a mask is empty and the metric has no
    meaning: not 0, not 1, and nothing that a mean over cases would take in.
    spacing: mm (z, y, x). Raises InputError as the functions do.
    """
    p, r = masks(prediction, reference)
    box = bounding_box(p | r)
    if box is not None:
        p, r = p[box], r[box]
    distances = surface_distances(p, r, spacing)
    values = {
        "dice": dice(p, r),
        "jaccard": jaccard(p, r),
        "hd95_mm": _hd95(*distances),
        "asd_mm": _asd(*distances),
        "assd_mm": _assd(*distances),
        "volume_error_ml": volume_error_ml(p, r, spacing),
        "relative_volume_error": relative_volume_error(p, r),
    }
    return {name: None if math.isnan(value) else value for name, value in values.items()}


# -- cases ---------------------------------------------------------------------------------------
def pearson(predictions: Sequence[float], references: Sequence[float]) -> float:
    """Pearson's correlation over cases (volumes in ml, say), -1..1; nan when one does not vary.

    High correlation is no agreement: a constant error does not lower it.
    """
    p, r = _cases(predictions, references)
    p, r = p - p.mean(), r - r.mean()
    size = float(np.linalg.norm(p) * np.linalg.norm(r))
    return float(p @ r) / size if size else math.nan


def limits_of_agreement(
    predictions: Sequence[float], references: Sequence[float]
) -> tuple[float, float, float]:
    """Bias and 95 % limits of agreement (mean difference, lower, upper) over cases, in their unit.

    Differences are prediction less reference; limits are bias -/+ 1.96 sample standard deviations
    (Bland, Altman. Lancet 1986;327:307-310). Raises InputError for fewer than two cases.
    """
    p, r = _cases(predictions, references)
    bias, width = float((p - r).mean()), 1.96 * float((p - r).std(ddof=1))
    return bias, bias - width, bias + width


def _cases(predictions: Sequence[float], references: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    p, r = np.asarray(predictions, dtype=np.float64), np.asarray(references, dtype=np.float64)
    if p.ndim != 1 or p.shape != r.shape or p.size < 2:
        raise InputError(f"expected two lists of as many cases, at least 2, got {p.shape} and {r.shape}")
    return p, r


# -- shared --------------------------------------------------------------------------------------
def _pair(prediction: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, r = np.asarray(prediction), np.asarray(reference)
    if p.shape != r.shape or p.ndim != 3 or p.size == 0:
        raise InputError(f"expected two images (z, y, x) of one shape, got {p.shape} and {r.shape}")
    for name, image in (("prediction", p), ("reference", r)):
        if not np.issubdtype(image.dtype, np.integer) and not np.all(np.isfinite(image)):
            raise InputError(f"expected finite voxels in the {name}, got NaN or infinite ones")
    return p.astype(np.float64), r.astype(np.float64)


def _voxels(
    prediction: np.ndarray, reference: np.ndarray, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    p, r = _pair(prediction, reference)
    if mask is None:
        return p.ravel(), r.ravel()
    inside = _inside(mask, p.shape)
    return p[inside], r[inside]


def _inside(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    inside = np.asarray(mask) != 0
    if inside.shape != shape or not inside.any():
        raise InputError(f"expected a mask of shape {shape} with voxels inside, got shape {inside.shape}")
    return inside


def _positive(value: float, name: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"expected {name} as a positive number, got {value}")
    return float(value)


def _known_axis(axis: int | str | None, mask: np.ndarray | None) -> None:
    if axis not in _AXES or isinstance(axis, bool):
        raise InputError(f"expected axis as one of {_AXES}, got {axis!r}")
    if mask is not None and axis is not None:
        raise InputError("expected a mask only with axis None; slice-wise metrics have no masked definition")


def _decibel(squared_error: float, data_range: float, identical: float) -> float:
    if squared_error == 0:
        return identical
    return float(20.0 * math.log10(data_range) - 10.0 * math.log10(squared_error))
