"""Algorithm 1 on 300 x 512 x 512 voxels beside a plain composition of SimpleITK filters, without networks.

    python Testing/Benchmarks/ptx_seg_speed.py              # a chest of formulas, two minutes to make
    python Testing/Benchmarks/ptx_seg_speed.py --ct chest.nii.gz --lungs lungs.nii.gz --set k_b=3

A CT is brought to that size; without lungs (labels 1 right, 2 left) it gets classical ones.

Prints the seconds of every step, processor seconds (more than one thread adds up), the ratio of both, memory
above what the inputs take, and how many voxels differ. Both run in turns in one process.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import SimpleITK as sitk
from xrecon.io.image import read_volume
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.pneumothorax.algorithm1 import algorithm1
from xrecon.pneumothorax.lungs import classical_lungs
from xrecon.pneumothorax.parameters import PtxParameters
from xrecon.volume import Quantity, Volume

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "Python"))
from ptx_simpleitk import simpleitk_ptx_seg  # noqa: E402

SHAPE = (300, 512, 512)
MIB = 2**20


class Memory:
    """The highest resident memory in a `with` block above that at its start, in MiB (Linux)."""

    def __enter__(self) -> Memory:
        self._stop, self._start = threading.Event(), _resident()
        self.peak = self._start
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.mib = (self.peak - self._start) / MIB

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, _resident())


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def phantom() -> tuple[Volume, Volume]:
    """A chest of 300 mm with 600 ml of pneumothorax and its pleural spaces."""
    spacing = (1.0, 0.75, 0.8)
    field = tuple(n * s for n, s in zip(SHAPE, spacing, strict=True))
    made = chest_phantom(spacing, pneumothorax_ml=600.0, field_mm=field, table=True)
    return made.volume, made.lungs


def brought_to_size(path: Path, lungs_path: Path | None) -> tuple[Volume, Volume]:
    """A CT interpolated to `SHAPE` over the same field, int16, and its lungs."""
    ct = read_volume(path)
    spacing = tuple(s * (n - 1) / (m - 1) for s, n, m in zip(ct.spacing, ct.shape, SHAPE, strict=True))

    def fine(array: np.ndarray, interpolator: int) -> np.ndarray:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(ct.spacing[::-1])
        grid = (SHAPE[::-1], sitk.Transform(), interpolator, (0, 0, 0), spacing[::-1])
        return sitk.GetArrayFromImage(sitk.Resample(image, *grid))

    volume = Volume(fine(ct.array, sitk.sitkLinear).astype(np.int16), spacing, quantity=Quantity.HU)
    if lungs_path is None:
        return volume, classical_lungs(volume)
    lungs = read_volume(lungs_path, Quantity.LABEL)
    labels = fine(lungs.array.astype(np.uint8), sitk.sitkNearestNeighbor)
    return volume, volume.with_array(labels, Quantity.LABEL)


def measured(run: Callable[[Callable[[str, float], None]], np.ndarray]) -> dict[str, Any]:
    """Result, steps in seconds, seconds, processor seconds and MiB of one run."""
    steps: list[tuple[str, float]] = []
    with Memory() as memory:
        wall, processor = perf_counter(), process_time()
        result = run(lambda name, seconds: steps.append((name, seconds)))
        wall, processor = perf_counter() - wall, process_time() - processor
    return {"result": result, "steps": steps, "wall": wall, "processor": processor, "mib": memory.mib}


def ours(volume: Volume, lungs: Volume, parameters: PtxParameters) -> Callable[..., np.ndarray]:
    """A run of `algorithm1` whose steps are those its progress names."""

    def run(say: Callable[[str, float], None]) -> np.ndarray:
        last = ["checking the input", perf_counter()]

        def progress(_: str, __: float, message: str) -> None:
            say(last[0], perf_counter() - last[1])
            last[:] = message, perf_counter()

        return algorithm1(volume, lungs, parameters, progress).array

    return run


def show(name: str, found: dict[str, Any]) -> None:
    """One method: its steps and sums."""
    print(f"{name}: {found['wall']:.1f} s, {found['processor']:.1f} processor s, +{found['mib']:.0f} MiB")
    for step, seconds in found["steps"]:
        print(f"    {seconds:6.2f} s  {step}")


def main() -> None:
    """Runs both and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--lungs", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--alone", action="store_true", help="without SimpleITK")
    options = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(options.threads)
    parameters = PtxParameters.from_settings(dict(pair.split("=", 1) for pair in options.set))
    volume, lungs = brought_to_size(options.ct, options.lungs) if options.ct else phantom()
    print(f"{volume.shape} voxels of {tuple(round(s, 3) for s in volume.spacing)} mm, {volume.array.dtype}")
    print(parameters.model_dump_json())
    run = ours(volume, lungs, parameters)
    for _ in range(options.rounds):
        fast = measured(run)
        show("xrecon", fast)
        voxels = np.bincount(fast["result"].reshape(-1), minlength=5)[1:].tolist()
        print(f"    {voxels} voxels of labels 1 to 4")
        if options.alone:
            continue
        plain = measured(
            lambda say: simpleitk_ptx_seg(volume.array, lungs.array, volume.spacing, parameters, say)
        )
        show("SimpleITK", plain)
        wall, processor = (plain[key] / fast[key] for key in ("wall", "processor"))
        different = int((plain["result"] != fast["result"]).sum())
        print(f"ratio {wall:.1f} (processor {processor:.1f}); {different} voxels differ")


if __name__ == "__main__":
    main()
