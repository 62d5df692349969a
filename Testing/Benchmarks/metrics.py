"""Segmentation metrics beside MONAI's: their values and their times, in one run.

    python Testing/Benchmarks/metrics.py                      # generated masks, some minutes
    python Testing/Benchmarks/metrics.py --rounds 5 --medpy   # with MedPy, which has to be installed

Every case is a pair of masks in an array of 240 x 300 x 300 voxels (z, y, x) of 1.0 x 0.7 x 0.7 mm. All
methods take turns in every round; CPU time of one thread, the median of the rounds. Error is the greatest
difference from MONAI's value. "together" is Dice, Jaccard, HD95, ASD and ASSD of a pair in one call.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import ndimage
from xrecon.evaluation import metrics

SHAPE, SPACING = (240, 300, 300), (1.0, 0.7, 0.7)
Pair = tuple[np.ndarray, np.ndarray]
Methods = dict[str, Callable[[np.ndarray, np.ndarray], float]]
Triple = tuple[float, float, float]


def ellipsoid(center: Triple, radii: Triple, waves: float = 0.0, seed: int = 0) -> np.ndarray:
    """A mask (z, y, x), its surface made uneven by smooth noise."""
    grid = np.ogrid[tuple(slice(n) for n in SHAPE)]
    away = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, center, radii, strict=True))
    if waves:
        coarse = np.random.default_rng(seed).normal(size=(13, 13, 13)).astype(np.float32)
        noise = ndimage.zoom(coarse, [(n + 12) / 13 for n in SHAPE], order=1)
        away = away + waves * noise[tuple(slice(n) for n in SHAPE)]
    return away < 1.0


def cases() -> dict[str, Pair]:
    """Pairs of masks, from what segmentation gives to what is worst for it."""
    lung = ellipsoid((120, 150, 150), (100, 110, 95))
    crescent = lung & ~ellipsoid((120, 162, 150), (95, 102, 92))
    missed = lung & ~ellipsoid((120, 163, 151), (94, 102, 91), 0.02, 3)
    return {
        "lung, Dice 0.99": (ellipsoid((120, 151, 150), (100, 110, 96), 0.01, 1), lung),
        "pneumothorax, Dice 0.94": (missed, crescent),
        "lung, Dice 0.9": (ellipsoid((122, 152, 148), (100, 110, 97), 0.15, 1), lung),
        "part of it": (ellipsoid((120, 150, 150), (55, 63, 48)), lung),
    }


def methods(with_medpy: bool) -> dict[str, Methods]:
    """For each metric the methods, ours first."""
    import torch
    from monai.metrics import (
        DiceMetric,
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_iou,
    )

    torch.set_num_threads(1)

    def batch(mask: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(mask.astype(np.uint8))[None, None]

    options = {"include_background": True, "spacing": SPACING}
    found: dict[str, Methods] = {
        "dice": {"xrecon": metrics.dice, "MONAI": lambda p, r: DiceMetric()(batch(p), batch(r)).item()},
        "jaccard": {"xrecon": metrics.jaccard, "MONAI": lambda p, r: compute_iou(batch(p), batch(r)).item()},
        "hd95": {
            "xrecon": lambda p, r: metrics.hd95(p, r, SPACING),
            "MONAI": lambda p, r: compute_hausdorff_distance(
                batch(p), batch(r), percentile=95, **options
            ).item(),
        },
        "asd": {
            "xrecon": lambda p, r: metrics.asd(p, r, SPACING),
            "MONAI": lambda p, r: compute_average_surface_distance(batch(p), batch(r), **options).item(),
        },
        "assd": {
            "xrecon": lambda p, r: metrics.assd(p, r, SPACING),
            "MONAI": lambda p, r: compute_average_surface_distance(
                batch(p), batch(r), symmetric=True, **options
            ).item(),
        },
    }
    if with_medpy:
        from medpy.metric import binary

        found["assd"]["MedPy"] = lambda p, r: binary.assd(p, r, voxelspacing=SPACING)
    monai = [of["MONAI"] for of in found.values()]
    found["together"] = {
        "xrecon": lambda p, r: metrics.compare_masks(p, r, SPACING)["assd_mm"],
        "MONAI": lambda p, r: [f(p, r) for f in monai][-1],
    }
    return found


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", default="", help="only cases whose name begins so")
    parser.add_argument("--medpy", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    columns = ("case", "metric", "method", "value", "error", "CPU s", "MONAI / method")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for case, (p, r) in cases().items():
        if not case.startswith(options.cases):
            continue
        for metric, by_name in methods(options.medpy).items():
            seconds: dict[str, list[float]] = {name: [] for name in by_name}
            values: dict[str, float] = {}
            for _ in range(options.rounds):
                for name, method in by_name.items():
                    started = time.process_time()
                    values[name] = method(p, r)
                    seconds[name].append(time.process_time() - started)
            middle = {name: float(np.median(of)) for name, of in seconds.items()}
            for name, value in values.items():
                error, ratio = abs(value - values["MONAI"]), middle["MONAI"] / middle[name]
                figures = f"{value:.4f} | {error:.1e} | {middle[name]:.3f} | {ratio:.1f}"
                print(f"| {case} | {metric} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
