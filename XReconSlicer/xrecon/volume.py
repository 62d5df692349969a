"""The two types at the door: `Volume` (a CT, a label map, an attenuation map) and `Radiograph`.

Conventions of the whole package: world coordinates are LPS millimetres; arrays are ordered
(z, y, x) for volumes and (row, column) for radiographs; CT numbers are Hounsfield units (HU).
Imports numpy only, so that every other room can depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # the geometry room lies above this one; only its name is needed here
    from xrecon.physics.geometry import ViewGeometry

# A direction matrix from a file in float32 or six decimals is orthonormal only to about this.
DIRECTION_TOLERANCE = 1e-4
# Two grids are the same grid when no voxel centre lies further apart than this.
GRID_TOLERANCE_MM = 1e-3
# Every chest CT has voxels darker than this: lung, or the air around the patient.
AIR_BELOW_HU = -200.0
# In `Radiograph.meta`, "<value>.origin" tells where a value comes from. Of these nobody has said it: it is
# the usual one, or what the view classifier makes of the picture.
GUESSED_ORIGINS = ("assumed", "model")


class InputError(ValueError):
    """What the user gave cannot be used: the message says what was expected and what came."""


class Quantity(StrEnum):
    """What the numbers of an array mean."""

    HU = "HU"  # Hounsfield units
    LABEL = "label"  # integers naming structures
    ATTENUATION = "attenuation"  # linear attenuation coefficient, 1/mm
    LINE_INTEGRAL = "line integral"  # attenuation x mm along a ray, dimensionless
    LOG_SIGNAL = "log signal"  # -log(signal / open beam): line integrals but for hardening, scatter, noise
    DISPLAY = "display"  # a processed radiograph: grey values for viewing, bright = dense


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image with its place in the patient.

    array: (z, y, x).
    spacing: voxel size in mm in *array* order (z, y, x).
    origin: LPS position (x, y, z) in mm of the centre of voxel [0, 0, 0].
    direction: 3x3; column j is the LPS unit vector of the index axis j in the order (x, y, z),
        as in ITK. The identity means: x to the patient's left, y to posterior, z to superior.
    quantity: what the numbers are.
    meta: provenance as strings (model name, "synthetic", source file).

    Raises InputError when the array is not 3D or is empty, a spacing is not positive and finite,
    or the direction is not orthonormal. Non-finite voxels are refused by `require_finite`, which
    the pipelines call, because a reader must be able to report which file they came from.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    quantity: Quantity = Quantity.HU
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.ndim != 3 or array.size == 0:
            raise InputError(f"expected a non-empty 3D array (z, y, x), got shape {array.shape}")
        spacing = tuple(float(s) for s in self.spacing)
        if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
            raise InputError(f"expected three positive voxel spacings in mm, got {self.spacing}")
        origin = tuple(float(o) for o in self.origin)
        if len(origin) != 3 or not np.all(np.isfinite(origin)):
            raise InputError(f"expected a finite origin (x, y, z) in mm, got {self.origin}")
        direction = np.array(self.direction, dtype=np.float64)
        if direction.shape != (3, 3) or not np.allclose(
            direction.T @ direction, np.eye(3), atol=DIRECTION_TOLERANCE
        ):
            raise InputError(f"expected an orthonormal 3x3 direction matrix, got {self.direction}")
        direction.setflags(write=False)
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "spacing", spacing)
        object.__setattr__(self, "origin", origin)
        object.__setattr__(self, "direction", direction)
        object.__setattr__(self, "quantity", Quantity(self.quantity))
        object.__setattr__(self, "meta", MappingProxyType(dict(self.meta)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels (z, y, x)."""
        return self.array.shape

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(np.prod(self.spacing)) / 1000.0

    @property
    def affine(self) -> np.ndarray:
        """4x4 matrix from homogeneous voxel index (x, y, z, 1) to LPS mm."""
        affine = np.eye(4)
        affine[:3, :3] = self.direction * np.array(self.spacing[::-1])
        affine[:3, 3] = self.origin
        return affine

    @property
    def center(self) -> np.ndarray:
        """LPS position (x, y, z) in mm of the middle of the volume."""
        middle = (np.array(self.shape[::-1]) - 1) / 2.0
        return self.affine[:3, :3] @ middle + np.array(self.origin)

    def index_to_world(self, index_xyz: np.ndarray) -> np.ndarray:
        """LPS mm (..., 3) of voxel indices (..., 3), both in the order x, y, z."""
        return np.asarray(index_xyz) @ self.affine[:3, :3].T + np.array(self.origin)

    def world_to_index(self, points_xyz: np.ndarray) -> np.ndarray:
        """Continuous voxel indices (..., 3) of LPS points (..., 3), both in the order x, y, z."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        return (np.asarray(points_xyz) - np.array(self.origin)) @ inverse.T

    def with_array(self, array: np.ndarray, quantity: Quantity | None = None, **meta: str) -> Volume:
        """The same grid with other numbers; `meta` entries are added to the provenance.

        Raises InputError when the shape differs.
        """
        if np.shape(array) != self.shape:
            raise InputError(f"expected an array of shape {self.shape}, got {np.shape(array)}")
        return replace(
            self,
            array=array,
            quantity=self.quantity if quantity is None else quantity,
            meta={**self.meta, **meta},
        )

    def moved(self, offset_mm: tuple[float, float, float] | np.ndarray) -> Volume:
        """The same volume translated by an LPS vector (x, y, z) in mm."""
        return replace(self, origin=tuple(np.array(self.origin) + np.asarray(offset_mm)))

    def same_grid(self, other: Volume, tolerance_mm: float = GRID_TOLERANCE_MM) -> bool:
        """Whether both have the same shape and every voxel centre at the same place."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape[::-1]])).reshape(3, -1).T
        apart = self.index_to_world(corners) - other.index_to_world(corners)
        return bool(np.linalg.norm(apart, axis=1).max() <= tolerance_mm)

    def require_finite(self, name: str = "the volume") -> Volume:
        """Itself; raises InputError when a voxel is NaN or infinite."""
        if not np.issubdtype(self.array.dtype, np.integer):
            bad = int(self.array.size - np.count_nonzero(np.isfinite(self.array)))
            if bad:
                raise InputError(f"expected finite numbers in {name}, got {bad} NaN or infinite voxels")
        return self

    def require_hounsfield(self, name: str = "the CT") -> Volume:
        """Itself; raises InputError unless it is finite, in HU, and has air darker than -200 HU.

        A label map, a probability map or CT numbers with an offset of 1024 has no such voxel.
        """
        if self.quantity is not Quantity.HU:
            raise InputError(f"expected a CT in HU, got a volume of {self.quantity.value}")
        self.require_finite(name)
        low, high = self.array.min(), self.array.max()
        if low > AIR_BELOW_HU:
            raise InputError(
                f"expected {name} in HU with air around or in the patient, got values from {low:g} to "
                f"{high:g}: a label map, or CT numbers with an offset?"
            )
        return self


@dataclass(frozen=True, eq=False)
class Radiograph:
    """A projection image with the geometry it was taken in.

    array: (row, column); row 0 is the top of the picture. Bright = dense always: readers invert
        pictures stored the other way round and note it in `history`.
    geometry: source, detector and pixel spacing in LPS mm; None when nothing is known.
    quantity: LINE_INTEGRAL when the numbers are attenuation x mm, LOG_SIGNAL when they are what a
        detector makes of them, else DISPLAY.
    view: "PA", "AP", "LEFT LATERAL", "RIGHT LATERAL", or "" when unknown.
    history: what was done to the numbers, in order, for the report.
    meta: provenance as strings.
    covered: boolean (row, column), pixels that show no patient: behind a collimator or a marker, or outside
        the picture they were resampled from. Their numbers are filled in, and no score or fit counts them.
        None: there are none.

    Raises InputError when the array is not 2D or empty, or geometry or covered pixels do not fit it.
    """

    array: np.ndarray
    geometry: ViewGeometry | None = None
    quantity: Quantity = Quantity.DISPLAY
    view: str = ""
    history: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    covered: np.ndarray | None = None

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.ndim != 2 or array.size == 0:
            raise InputError(f"expected a non-empty 2D radiograph (row, column), got shape {array.shape}")
        if self.geometry is not None and tuple(self.geometry.shape) != array.shape:
            raise InputError(
                f"expected a radiograph of {self.geometry.shape} pixels as its geometry says, "
                f"got {array.shape}"
            )
        if self.covered is not None:
            covered = np.asarray(self.covered)
            if covered.shape != array.shape or covered.dtype != bool:
                raise InputError(
                    f"expected covered pixels as booleans of shape {array.shape}, got {covered.dtype} of "
                    f"{covered.shape}"
                )
            object.__setattr__(self, "covered", covered)
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "quantity", Quantity(self.quantity))
        object.__setattr__(self, "history", tuple(self.history))
        object.__setattr__(self, "meta", MappingProxyType(dict(self.meta)))

    def with_array(self, array: np.ndarray, note: str, **changes: object) -> Radiograph:
        """The same view with other numbers; `note` is appended to the history."""
        return replace(self, array=array, history=(*self.history, note), **changes)

    @property
    def seen(self) -> np.ndarray:
        """Boolean (row, column): pixels that show something, those that are not covered."""
        return np.ones(self.array.shape, dtype=bool) if self.covered is None else ~self.covered

    def require_finite(self, name: str = "the radiograph") -> Radiograph:
        """Itself; raises InputError when a pixel is NaN or infinite, or all pixels are equal."""
        values = self.array
        if not np.all(np.isfinite(values)):
            bad = int(values.size - np.count_nonzero(np.isfinite(values)))
            raise InputError(f"expected finite numbers in {name}, got {bad} NaN or infinite pixels")
        if values.min() == values.max():
            raise InputError(
                f"expected a picture in {name}, got {values.size} pixels all equal to {values.flat[0]}"
            )
        return self
