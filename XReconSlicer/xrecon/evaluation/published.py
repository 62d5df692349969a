"""Image metrics exactly as two published codes compute them, to set a figure beside a paper's.

Both codes look at CT values from -1024 to 1476 HU, stored as 0 to 2500, and report means over slices that
count 100 dB where nothing differs. They differ in the peak: X-Recon's is the range (1 on the scale 0 to 1),
X2CT-GAN's is 4095 on the stored scale, which alone is worth 4.29 dB. Nothing is rounded here. What XRecon
reports by itself is in `xrecon.evaluation.comparison`.

Sources: the evaluation code of X-Recon (Wang et al., 2024), values clipped before; that of X2CT-GAN (Ying et
al., CVPR 2019). X-Recon's paper does not say whether its 19.85 dB is `psnr_3d` or `psnr_avg`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from xrecon.evaluation.metrics import IDENTICAL_SLICE_DB, cosine_similarity, mae, mse, psnr, ssim
from xrecon.preprocess.ct import HU_WINDOW
from xrecon.volume import InputError

STORED_RANGE = HU_WINDOW[1] - HU_WINDOW[0]
X2CT_PEAK = 4095.0


def published_metrics(prediction: np.ndarray, reference: np.ndarray, code: str) -> dict[str, float]:
    """The figures of one volume in HU (z, y, x) against another as `code` gives them.

    code "x2ct": psnr_3d, psnr_1, psnr_2, psnr_3 (slices across z, y, x), psnr_avg, all in dB with the peak
        4095 on values 0 to 2500; ssim_1, ssim_2, ssim_3, ssim_avg on values 0 to 1.
    code "xrecon": the same with the peak 1 on values 0 to 1, and mae, mse and cs (cosine similarity) there.

    Raises InputError for another code, for shapes that differ or are below 7 voxels a side, and for voxels
    that are not finite.
    """
    if code not in CODES:
        raise InputError(f"expected a published code out of {tuple(CODES)}, got {code!r}")
    return CODES[code](_stored(prediction), _stored(reference))


def _stored(hu: np.ndarray) -> np.ndarray:
    """Values 0 to 2500, clipped."""
    return np.clip(np.asarray(hu, dtype=np.float64) - HU_WINDOW[0], 0.0, STORED_RANGE)


def _x2ct(prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    return _psnrs(prediction, reference, X2CT_PEAK) | _ssims(prediction, reference)


def _xrecon(prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    p, r = prediction / STORED_RANGE, reference / STORED_RANGE
    voxels = {"mae": mae(p, r), "mse": mse(p, r), "cs": cosine_similarity(p, r)}
    return voxels | _psnrs(p, r, 1.0) | _ssims(prediction, reference)


CODES: Mapping[str, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = {"x2ct": _x2ct, "xrecon": _xrecon}


def _psnrs(prediction: np.ndarray, reference: np.ndarray, peak: float) -> dict[str, float]:
    whole = psnr(prediction, reference, data_range=peak)
    slices = [psnr(prediction, reference, data_range=peak, axis=axis) for axis in range(3)]
    return {
        "psnr_3d": whole if np.isfinite(whole) else IDENTICAL_SLICE_DB,
        **_numbered("psnr", slices),
    }


def _ssims(prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Windows of 7 x 7 in slices; the range goes along, so the stored scale gives what 0 to 1 gives."""
    return _numbered("ssim", [ssim(prediction, reference, data_range=STORED_RANGE, axis=a) for a in range(3)])


def _numbered(name: str, values: list[float]) -> dict[str, float]:
    return {f"{name}_{k}": v for k, v in enumerate(values, start=1)} | {f"{name}_avg": float(np.mean(values))}
