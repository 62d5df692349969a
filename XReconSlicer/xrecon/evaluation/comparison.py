"""Two volumes brought onto one grid and compared voxel by voxel."""

from __future__ import annotations

import math

import numpy as np

from xrecon.evaluation.metrics import (
    SSIM_WINDOW,
    compare_masks,
    cosine_similarity,
    mae,
    psnr,
    ssim,
)
from xrecon.preprocess.ct import AIR_HU, HU_WINDOW, resample
from xrecon.volume import Quantity, Volume

# Ends of the names of metrics: inside the patient only; of the mean training volume.
BODY, CONTROL = "_body", "_mean_volume"
LABEL_METRICS = ("dice", "jaccard", "hd95_mm", "asd_mm", "assd_mm", "volume_error_ml")


def on_one_grid(
    prediction: Volume, reference: Volume, mask: Volume | None
) -> tuple[Volume, Volume, np.ndarray]:
    """Both volumes on the coarser of their grids and where to compare them, boolean (z, y, x).

    Compared is where both volumes reach and, if given, the label volume `mask` is not zero. The
    finer volume is antialiased; labels take the nearest neighbour. Volumes on the same grid stay
    as they are, oblique or not; otherwise the common grid lies along the LPS axes.
    """
    if prediction.same_grid(reference):
        p, r, inside = prediction, reference, np.ones(prediction.shape, dtype=bool)
        place = None
    else:
        place = _aligned_grid(max(prediction, reference, key=lambda v: v.voxel_ml))
        fill, order = (0.0, 0) if prediction.quantity is Quantity.LABEL else (AIR_HU, 1)
        p, r = (resample(v, *place, fill=fill, order=order) for v in (prediction, reference))
        inside = np.ones(p.shape, dtype=bool)
        for volume in (prediction, reference):
            everywhere = volume.with_array(np.broadcast_to(np.uint8(1), volume.shape), Quantity.LABEL)
            inside &= resample(everywhere, *place, fill=0, order=0).array > 0
    if mask is not None:
        if mask.same_grid(p):
            inside &= mask.array > 0
        else:
            grid = place or _aligned_grid(p)
            inside &= resample(mask, *grid, fill=0, order=0).array > 0
    return p, r, inside


def _aligned_grid(volume: Volume) -> tuple[tuple[int, ...], tuple[float, ...], np.ndarray]:
    """Shape and spacing (z, y, x) and LPS centre of the grid along the LPS axes that covers a volume.

    A grid that lies along the axes, in any order and sense, keeps its voxels.
    """
    toward = np.abs(volume.direction)  # rows are the axes of the world, columns those of the index
    extent = toward @ (np.array(volume.shape[::-1]) * np.array(volume.spacing[::-1]))
    along = np.argmax(toward, axis=1)
    spacing = np.array(volume.spacing[::-1])[along]
    shape = np.maximum(np.rint(extent / spacing), 1).astype(int)
    return tuple(shape[::-1].tolist()), tuple(spacing[::-1].tolist()), volume.center


def image_metrics(
    prediction: np.ndarray, reference: np.ndarray, inside: np.ndarray | None
) -> dict[str, float]:
    """Metrics of two images in HU (z, y, x), clipped to -1024..1476, where `inside` is true.

    mae_hu; psnr in dB (data range 2500, one RMSE over all voxels); ssim (7x7x7 windows, the same
    range); cosine_similarity of HU + 1024, since it depends on where zero lies.
    psnr_slices, ssim_slices: the means over the slices across each of the three axes, of which the
    mean, as X-Recon's and X2CT-GAN's code report them; an identical slice (air) counts 100 dB, so
    they lie above the figures of the volume. Only where `inside` is a box of at least 7 voxels a side.
    """
    width = HU_WINDOW[1] - HU_WINDOW[0]
    p, r = (np.clip(a.astype(np.float64), *HU_WINDOW) - HU_WINDOW[0] for a in (prediction, reference))
    metrics = {
        "mae_hu": mae(p, r, inside),
        "psnr": psnr(p, r, data_range=width, mask=inside),
        "ssim": ssim(p, r, data_range=width, mask=inside),
        "cosine_similarity": cosine_similarity(p, r, inside),
    }
    box = _box(inside) if inside is not None else (slice(None),) * 3
    if box is not None and min(p[box].shape) >= SSIM_WINDOW:
        metrics["psnr_slices"] = psnr(p[box], r[box], data_range=width, axis="mean")
        metrics["ssim_slices"] = ssim(p[box], r[box], data_range=width, axis="mean")
    return metrics


def _box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """Where a boolean mask (z, y, x) is true, when that is a whole box; else None."""
    places = [np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    box = tuple(slice(int(n[0]), int(n[-1]) + 1) for n in places)
    return box if mask[box].all() else None


def label_metrics(
    prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float]
) -> dict[str, float]:
    """Metrics of each label n other than 0 that either array (z, y, x) holds; spacing in mm.

    dice_n, jaccard_n (0..1), hd95_mm_n, asd_mm_n, assd_mm_n, volume_error_ml_n (prediction less
    reference); not a number where a mask is empty and the metric has no meaning.
    """
    metrics = {}
    for label in np.union1d(prediction, reference):
        if label == 0:
            continue
        compared = compare_masks(prediction == label, reference == label, spacing)
        for name in LABEL_METRICS:
            value = compared[name]
            metrics[f"{name}_{label}"] = math.nan if value is None else value
    return metrics
