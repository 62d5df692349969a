"""Peers in C++ without gradients: RTK, ITK's ray caster, plastimatch (a program of its own)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
from xrecon.physics.geometry import ViewGeometry

from projector_benchmark.cases import Case
from projector_benchmark.methods import NotAvailable, Runner

# plastimatch works in cm and writes a tenth of the integral of attenuation per mm over mm.
PLASTIMATCH_FACTOR = 10.0
_PLASTIMATCH_SECONDS = re.compile(r"Total time:\s*([0-9.eE+-]+)")


def _itk(threads: int) -> ModuleType:
    try:
        import itk
    except ImportError as error:
        raise NotAvailable(f"itk is not installed ({error})") from error
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
    itk.MultiThreaderBase.SetGlobalMaximumNumberOfThreads(threads)
    return itk


def _image(itk: ModuleType, case: Case, volume: np.ndarray):
    image = itk.image_from_array(np.ascontiguousarray(volume))
    image.SetSpacing([float(s) for s in case.spacing[::-1]])
    image.SetOrigin([-(n - 1) / 2 * s for n, s in zip(case.shape[::-1], case.spacing[::-1], strict=True)])
    return image


def rtk_joseph(case: Case, volume: np.ndarray, threads: int) -> Runner:
    """RTK's JosephForwardProjectionImageFilter, one view after the other."""
    itk = _itk(threads)
    try:
        from itk import RTK as rtk
    except ImportError as error:
        raise NotAvailable(f"itk-rtk is not installed ({error})") from error
    image = _image(itk, case, volume)
    kind = type(image)
    filters = []
    for view in case.views:
        (rows, columns), (row_mm, column_mm) = view.shape, view.pixel_spacing
        geometry = rtk.ThreeDCircularProjectionGeometry.New()
        geometry.AddProjection(
            itk.Point[itk.D, 3](list(view.source)),
            itk.Point[itk.D, 3](list(view.detector_center)),
            itk.Vector[itk.D, 3](list(view.column_direction)),
            itk.Vector[itk.D, 3](list(view.row_direction)),
        )
        stack = itk.image_from_array(np.zeros((1, rows, columns), dtype=np.float32))
        stack.SetSpacing([column_mm, row_mm, 1.0])
        stack.SetOrigin([-(columns - 1) / 2 * column_mm, -(rows - 1) / 2 * row_mm, 0.0])
        projector = rtk.JosephForwardProjectionImageFilter[kind, kind].New()
        projector.SetGeometry(geometry)
        projector.SetInput(0, stack)
        projector.SetInput(1, image)
        projector.InPlaceOff()  # else a second update adds to the first
        filters.append(projector)

    return lambda: (np.stack([_update(itk, one)[0] for one in filters]), None)


def _update(itk: ModuleType, process) -> np.ndarray:
    process.Modified()
    process.Update()
    return itk.array_view_from_image(process.GetOutput())


def itk_ray_cast(case: Case, volume: np.ndarray, threads: int) -> Runner:
    """ITK's RayCastInterpolateImageFunction, driven by a resampling onto the detector plane."""
    itk = _itk(threads)
    image = _image(itk, case, volume)
    kind = type(image)
    filters = []
    for view in case.views:
        caster = itk.RayCastInterpolateImageFunction[kind, itk.D].New()
        caster.SetTransform(itk.IdentityTransform[itk.D, 3].New())
        caster.SetThreshold(0.0)  # anything well below zero gives wrong numbers
        caster.SetFocalPoint(list(view.source))
        resample = itk.ResampleImageFilter[kind, kind].New()
        resample.SetInput(image)
        resample.SetInterpolator(caster)
        resample.SetTransform(itk.IdentityTransform[itk.D, 3].New())
        rows, columns = view.shape
        resample.SetSize([columns, rows, 1])
        resample.SetOutputSpacing([view.pixel_spacing[1], view.pixel_spacing[0], 1.0])
        resample.SetOutputOrigin([float(v) for v in view.pixel_positions()[0, 0]])
        axes = np.stack(
            [view.column_direction, view.row_direction, np.cross(view.column_direction, view.row_direction)],
            axis=1,
        )
        resample.SetOutputDirection(itk.matrix_from_array(axes))
        filters.append((resample, caster))
    return lambda: (np.stack([_update(itk, one)[0] for one, _ in filters]), None)


def plastimatch(case: Case, volume: np.ndarray, threads: int, algorithm: str) -> Runner:
    """`plastimatch drr`, a child process per view; the seconds are those it prints for computing."""
    program = shutil.which("plastimatch")
    if program is None:
        raise NotAvailable("the program plastimatch is not on the path (Debian: apt-get install plastimatch)")
    import SimpleITK

    folder = tempfile.TemporaryDirectory(prefix="plastimatch-")
    where = Path(folder.name)
    image = SimpleITK.GetImageFromArray(volume)
    image.SetSpacing([float(s) for s in case.spacing[::-1]])
    image.SetOrigin([-(n - 1) / 2 * s for n, s in zip(case.shape[::-1], case.spacing[::-1], strict=True)])
    SimpleITK.WriteImage(image, str(where / "volume.mha"))

    surroundings = {**os.environ, "OMP_NUM_THREADS": str(threads)}

    def run(_keep: tempfile.TemporaryDirectory = folder) -> tuple[np.ndarray, float]:
        pictures, seconds = [], 0.0
        for view in case.views:
            command = [program, *_plastimatch_arguments(view, algorithm)]
            command += ["-I", str(where / "volume.mha"), "-O", str(where / "drr")]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings)
            found = _PLASTIMATCH_SECONDS.findall(done.stdout)
            if done.returncode or not found:
                raise RuntimeError(f"plastimatch failed: {done.stdout[-500:]} {done.stderr[-500:]}")
            seconds += float(found[-1])
            picture = read_pfm(where / "drr0000.pfm")
            pictures.append(picture[:, ::-1] * PLASTIMATCH_FACTOR)  # drawn as seen from the other side
        return np.stack(pictures), seconds

    return run


def _plastimatch_arguments(view: ViewGeometry, algorithm: str) -> list[str]:
    def numbers(values) -> str:
        return " ".join(f"{float(v):.9g}" for v in values)

    rows, columns = view.shape
    height, width = rows * view.pixel_spacing[0], columns * view.pixel_spacing[1]
    arguments = ["drr", "-i", algorithm, "-P", "none", "-t", "pfm"]
    arguments += ["--sad", f"{view.source_to_isocenter_mm:.9g}", "--sid", f"{view.source_to_detector_mm:.9g}"]
    arguments += ["-n", numbers(-view.normal), "--vup", numbers(-np.array(view.row_direction))]
    arguments += ["-o", numbers(view.isocenter), "-r", f"{rows} {columns}", "-z", numbers((height, width))]
    return [*arguments, "-c", numbers(((rows - 1) / 2, (columns - 1) / 2))]


def read_pfm(path: Path) -> np.ndarray:
    """A grey PFM picture, (row, column) float32, in the order of the file."""
    data = path.read_bytes()
    header, width, height, scale, rest = re.match(
        rb"(P[fF])\s+(\d+)\s+(\d+)\s+(\S+)\s(.*)", data, re.S
    ).groups()
    if header != b"Pf":
        raise ValueError(f"expected a grey PFM file, got {header!r}")
    kind = "<f4" if float(scale) < 0 else ">f4"
    return np.frombuffer(rest, dtype=kind).reshape(int(height), int(width)).astype(np.float32)
