"""Dose at the isocentre of opposed photon beams, by water-equivalent depth: an easy endpoint.

Source: few-view-inr-radiotherapy, section 3, whose plans (two opposed 10 x 10 cm fields, 15 MV, isocentre
in the thoracic spine, 100 cm from the source) a treatment planning system computed. Here, for the same
monitor units,

    D = sum over beams of weight * TPR(water-equivalent depth of the isocentre along the central ray),

as an independent check of monitor units is done by hand. At the isocentre the inverse square law is the
same for all volumes. Neither scatter that the body's shape and density change nor lateral disequilibrium
in lung is counted.

It is easy because of what cancels: tissue moved along the beam's axis leaves the sum nearly as it was, and
3 mm of water change one beam by 1 percent. The paper's authors say so, too. An error below 1 percent tells
that the mean density along one line is about right, and nothing of the anatomy. Take the errors of the
depths, which do not cancel, as the figure to look at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xrecon.volume import InputError, Volume

TABLE_PATH = Path(__file__).resolve().parent / "tables" / "hu_to_electron_density.json"
# LPS directions from the isocentre towards the source.
Direction = tuple[float, float, float]
OPPOSED_BEAMS: Mapping[str, Direction] = {"anterior": (0.0, -1.0, 0.0), "posterior": (0.0, 1.0, 0.0)}
LATERAL_BEAMS: Mapping[str, Direction] = {"left": (1.0, 0.0, 0.0), "right": (-1.0, 0.0, 0.0)}
STEPS_PER_VOXEL = 4
BONE_HU = 150.0


@dataclass(frozen=True)
class DensityTable:
    """CT numbers (HU, rising) and electron densities relative to water; linear in between, flat beyond.

    Raises InputError for a table that is none.
    """

    hu: tuple[float, ...]
    relative_electron_density: tuple[float, ...]

    def __post_init__(self) -> None:
        hu, density = np.asarray(self.hu, float), np.asarray(self.relative_electron_density, float)
        if hu.ndim != 1 or hu.size < 2 or hu.shape != density.shape:
            raise InputError(
                f"expected two or more HU and as many densities, got {hu.shape} and {density.shape}"
            )
        if not (np.all(np.diff(hu) > 0) and np.all(np.isfinite(density)) and np.all(density >= 0)):
            raise InputError("expected rising HU and densities from 0 on, got others")

    @classmethod
    def read(cls, path: str | Path = TABLE_PATH) -> DensityTable:
        """A table from JSON with the lists `hu` and `relative_electron_density`."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(tuple(data["hu"]), tuple(data["relative_electron_density"]))
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"expected a table of hu and relative_electron_density in {path}: {error}"
            ) from error

    def densities(self, hu: np.ndarray) -> np.ndarray:
        """Relative electron densities of CT numbers, of the same shape."""
        return np.interp(hu, self.hu, self.relative_electron_density)


@dataclass(frozen=True)
class PhotonBeam:
    """Tissue-phantom ratio of a 10 x 10 cm field, 1 at the depth of maximum dose.

    tpr20_10: ratio of the doses at 20 and 10 cm of water, the beam quality of IAEA TRS-398; beyond the
    maximum the ratio falls as the exponential through it. Before the maximum it rises along a parabola
    from `surface`. Defaults: typical of 15 MV.
    """

    tpr20_10: float = 0.76
    depth_of_maximum_mm: float = 29.0
    surface: float = 0.25

    def __post_init__(self) -> None:
        if not (0 < self.tpr20_10 < 1 and self.depth_of_maximum_mm > 0 and 0 <= self.surface <= 1):
            raise InputError(
                "expected tpr20_10 within 0 and 1, a positive depth and a surface from 0 to 1, got "
                f"{self.tpr20_10}, {self.depth_of_maximum_mm}, {self.surface}"
            )

    def tissue_phantom_ratio(self, depth_mm: float) -> float:
        """At a depth in mm of water."""
        short = 1.0 - depth_mm / self.depth_of_maximum_mm
        if short > 0:
            return self.surface + (1.0 - self.surface) * (1.0 - min(short, 1.0) ** 2)
        slope = -np.log(self.tpr20_10) / 100.0
        return float(np.exp(-slope * (depth_mm - self.depth_of_maximum_mm)))


def water_equivalent_depth(
    volume: Volume,
    isocenter: Sequence[float],
    towards_source: Sequence[float],
    table: DensityTable | None = None,
) -> float:
    """Mm of water with the electrons between a point and the source, along the line to it.

    volume: HU, table of the scanner removed; nothing lies beyond it. isocenter: LPS mm (x, y, z).
    towards_source: LPS direction, any length. Raises InputError for a point outside the volume.
    """
    from scipy import ndimage

    volume.require_finite("the CT")
    start = np.asarray(isocenter, dtype=np.float64)
    ray = np.asarray(towards_source, dtype=np.float64)
    if start.shape != (3,) or ray.shape != (3,) or not np.linalg.norm(ray) > 0:
        raise InputError(f"expected a point and a direction (x, y, z), got {isocenter} and {towards_source}")
    ray = ray / np.linalg.norm(ray)
    inside = volume.world_to_index(start)
    if np.any(inside < -0.5) or np.any(inside > np.array(volume.shape[::-1]) - 0.5):
        raise InputError(f"expected an isocentre within the volume, got {tuple(start)} mm")
    density = (table or DensityTable.read()).densities(volume.array)
    step = min(volume.spacing) / STEPS_PER_VOXEL
    reach = float(np.linalg.norm(np.array(volume.shape) * volume.spacing))
    along = (np.arange(int(np.ceil(reach / step))) + 0.5) * step
    index = volume.world_to_index(start + along[:, None] * ray)
    # the outermost half voxel has the outermost value
    met = np.all((index >= -0.5) & (index <= np.array(volume.shape[::-1]) - 0.5), axis=1)
    values = ndimage.map_coordinates(density, index[met][:, ::-1].T, order=1, mode="nearest")
    return float(values.sum() * step)


def isocenter_dose(depths_mm: Mapping[str, float], beam: PhotonBeam | None = None) -> float:
    """Mean tissue-phantom ratio of equally weighted beams, by their water-equivalent depths."""
    beam = beam or PhotonBeam()
    return float(np.mean([beam.tissue_phantom_ratio(depth) for depth in depths_mm.values()]))


def compare_isocenter_dose(
    reconstruction: Volume,
    truth: Volume,
    isocenter: Sequence[float],
    beams: Mapping[str, Direction] = OPPOSED_BEAMS,
    table: DensityTable | None = None,
    beam: PhotonBeam | None = None,
) -> dict[str, float]:
    """How the dose to a point of the patient changes when it is planned on a reconstruction.

    "isocenter_dose_error_percent": of the dose for the same monitor units, with its sign;
    "water_equivalent_depth_error_mm_<beam>" and their greatest size without a beam's name.
    """
    table = table or DensityTable.read()
    depths = [
        {name: water_equivalent_depth(v, isocenter, ray, table) for name, ray in beams.items()}
        for v in (reconstruction, truth)
    ]
    planned, true = (isocenter_dose(d, beam) for d in depths)
    errors = {name: depths[0][name] - depths[1][name] for name in beams}
    return {
        "isocenter_dose_error_percent": 100.0 * (planned / true - 1.0),
        "water_equivalent_depth_error_mm": max(abs(e) for e in errors.values()),
        **{f"water_equivalent_depth_error_mm_{name}": error for name, error in errors.items()},
    }


def spine_isocenter(volume: Volume) -> tuple[float, float, float]:
    """A point in the thoracic spine of a CT in HU: LPS mm (x, y, z), for want of a planner.

    The middle of the bone in the middle fifth of the body's height, in its middle third from side to side
    and its posterior half. Raises InputError when there is no body or no bone there.
    """
    from xrecon.preprocess.ct import body_mask

    body = np.argwhere(body_mask(volume))
    points = volume.index_to_world(body[:, ::-1])
    low, high = points.min(axis=0), points.max(axis=0)
    middle, size = (low + high) / 2.0, high - low
    bone = volume.index_to_world(np.argwhere(volume.array > BONE_HU)[:, ::-1])
    there = (np.abs(bone[:, 2] - middle[2]) < size[2] / 10) & (np.abs(bone[:, 0] - middle[0]) < size[0] / 6)
    there &= (bone[:, 1] > middle[1]) & (bone[:, 1] < high[1])
    if not there.any():
        raise InputError(f"expected a spine in the CT, found no bone above {BONE_HU:g} HU where it should be")
    return tuple(float(v) for v in np.median(bone[there], axis=0))
