"""One radiograph's geometry: where source and detector stand, in LPS millimetres.

A view is a frozen, validated value that prints as the code that rebuilds it. Rays go from the
source (or, for a parallel beam, along the direction from the source to the detector centre)
through the centre of each detector pixel.

Pictures are laid out as radiologists hang them: row 0 is superior; in PA and AP views the
patient's right is on the left of the picture; in a left lateral view anterior is on the left,
in a right lateral view anterior is on the right.

Distances are named in full, as DICOM's abbreviations are ambiguous: `source_to_detector_mm` is
(0018,1110). `source_to_isocenter_mm`, to the point the views turn about, is (0018,1111) of C-arms;
CR and DX files often hold the distance to the table or bucky there (see `xrecon.io.radiograph_dicom`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xrecon.physics.projection_matrices import view_fields
from xrecon.volume import InputError

# A chest stand: 1.8 m focus-detector distance, patient centre 0.3 m before the detector.
SOURCE_TO_DETECTOR_MM = 1800.0
SOURCE_TO_ISOCENTER_MM = 1500.0
# The usual 43 cm square flat panel.
DETECTOR_WIDTH_MM = 430.0
# Rows or columns times pixel spacing outside make no detector on which a chest was taken.
PLAUSIBLE_DETECTOR_MM = (200.0, 550.0)
DIRECTION_TOLERANCE = 1e-6
BEAMS = ("cone", "parallel")

# For each preset: LPS direction from source to detector, and of increasing column.
_PRESETS = {
    "PA": ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0)),
    "AP": ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
    "LEFT LATERAL": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "RIGHT LATERAL": ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
}
VIEWS = tuple(_PRESETS)


def is_chest_detector(shape: tuple[int, int], pixel_spacing: tuple[float, float]) -> bool:
    """Whether rows and columns of this spacing (mm) span a detector that a chest fits on."""
    low, high = PLAUSIBLE_DETECTOR_MM
    return all(low <= n * s <= high for n, s in zip(shape, pixel_spacing, strict=True))


def _vector(value: Any, name: str) -> tuple[float, float, float]:
    vector = tuple(float(v) for v in np.asarray(value, dtype=np.float64).ravel())
    if len(vector) != 3 or not np.all(np.isfinite(vector)):
        raise InputError(f"expected {name} as three finite numbers (x, y, z) in LPS mm, got {value}")
    return vector


def _counts(value: Any) -> tuple[int, int]:
    try:
        counts = tuple(int(n) for n in value)
        whole = counts == tuple(float(n) for n in value)
    except (TypeError, ValueError, OverflowError):
        counts, whole = (), False
    if not whole or len(counts) != 2 or min(counts) < 1:
        raise InputError(f"expected shape as two positive counts (rows, columns), got {value!r}")
    return counts


@dataclass(frozen=True)
class ViewGeometry:
    """One view. All positions and directions in LPS mm (x, y, z).

    source: focal spot.
    detector_center: middle of the detector (between the middle pixels when counts are even).
    row_direction: unit vector along which the row index grows (down the picture).
    column_direction: unit vector along which the column index grows (to the right).
    shape: (rows, columns).
    pixel_spacing: (row, column) distance of pixel centres on the detector, mm.
    beam: "cone" or "parallel".
    isocenter: the point the view turns about; only distances to it and
        `xrecon.physics.poses` use it.

    Raises InputError naming the field that is wrong.
    """

    source: tuple[float, float, float]
    detector_center: tuple[float, float, float]
    row_direction: tuple[float, float, float]
    column_direction: tuple[float, float, float]
    shape: tuple[int, int]
    pixel_spacing: tuple[float, float]
    beam: str = "cone"
    isocenter: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("source", "detector_center", "row_direction", "column_direction", "isocenter"):
            object.__setattr__(self, name, _vector(getattr(self, name), name))
        shape = _counts(self.shape)
        spacing = tuple(float(s) for s in self.pixel_spacing)
        if len(spacing) != 2 or not all(np.isfinite(s) and s > 0 for s in spacing):
            raise InputError(f"expected pixel_spacing as two positive mm, got {self.pixel_spacing}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "pixel_spacing", spacing)
        if self.beam not in BEAMS:
            raise InputError(f"expected beam to be one of {BEAMS}, got {self.beam!r}")
        row, column = np.array(self.row_direction), np.array(self.column_direction)
        lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
        if np.abs(lengths - 1).max() > DIRECTION_TOLERANCE or abs(row @ column) > DIRECTION_TOLERANCE:
            raise InputError(
                "expected row_direction and column_direction to be orthogonal unit vectors, "
                f"got {self.row_direction} and {self.column_direction}"
            )
        if self.source_to_detector_mm < 1e-3:
            raise InputError("expected the source off the detector plane, got it in the plane")

    # -- presets -------------------------------------------------------------------------------
    @classmethod
    def preset(
        cls,
        view: str,
        *,
        source_to_detector_mm: float = SOURCE_TO_DETECTOR_MM,
        source_to_isocenter_mm: float = SOURCE_TO_ISOCENTER_MM,
        shape: tuple[int, int] = (512, 512),
        pixel_spacing: tuple[float, float] | None = None,
        isocenter: tuple[float, float, float] = (0.0, 0.0, 0.0),
        beam: str = "cone",
    ) -> ViewGeometry:
        """A standard view by name ("PA", "AP", "LEFT LATERAL", "RIGHT LATERAL").

        The central ray passes through `isocenter` and meets the detector centre at a right angle.
        `pixel_spacing` defaults to that of a 43 cm wide detector.
        """
        if view not in _PRESETS:
            raise InputError(f"expected a view out of {VIEWS}, got {view!r}")
        shape = _counts(shape)
        if not 0 < source_to_isocenter_mm < source_to_detector_mm < np.inf:
            raise InputError(
                "expected 0 < source_to_isocenter_mm < source_to_detector_mm, got "
                f"{source_to_isocenter_mm} and {source_to_detector_mm}"
            )
        if pixel_spacing is None:
            pixel_spacing = (DETECTOR_WIDTH_MM / shape[1],) * 2
        beam_direction, column = (np.array(v) for v in _PRESETS[view])
        center = np.array(_vector(isocenter, "isocenter"))
        source = center - source_to_isocenter_mm * beam_direction
        return cls(
            source=tuple(source),
            detector_center=tuple(source + source_to_detector_mm * beam_direction),
            row_direction=(0.0, 0.0, -1.0),
            column_direction=tuple(column),
            shape=shape,
            pixel_spacing=pixel_spacing,
            beam=beam,
            isocenter=tuple(center),
        )

    @classmethod
    def pa(cls, **options: Any) -> ViewGeometry:
        """Posteroanterior: source behind the patient. Options as in `preset`."""
        return cls.preset("PA", **options)

    @classmethod
    def ap(cls, **options: Any) -> ViewGeometry:
        """Anteroposterior: source before the patient. Options as in `preset`."""
        return cls.preset("AP", **options)

    @classmethod
    def lateral(cls, side: str = "left", **options: Any) -> ViewGeometry:
        """Lateral with the named side of the patient ("left", "right") against the detector."""
        if side not in ("left", "right"):
            raise InputError(f"expected side 'left' or 'right', got {side!r}")
        return cls.preset(f"{side.upper()} LATERAL", **options)

    @classmethod
    def from_positioner_angles(cls, primary_deg: float, secondary_deg: float, **options: Any) -> ViewGeometry:
        """A view of any direction by DICOM's angles: `xrecon.physics.poses.view_from_positioner_angles`."""
        from xrecon.physics.poses import view_from_positioner_angles

        return view_from_positioner_angles(primary_deg, secondary_deg, **options)

    # -- 3x4 matrices --------------------------------------------------------------------------
    @property
    def matrix(self) -> np.ndarray:
        """3x4 projection matrix: P @ (x, y, z, 1) = w (column, row, 1), pixel centres at integers.

        Scaled so that w is the depth from the source in mm along the detector normal; a parallel
        beam has w = 1 and the same meaning.
        """
        row, column = np.array(self.row_direction), np.array(self.column_direction)
        source, center = np.array(self.source), np.array(self.detector_center)
        normal = self.normal
        middle = (np.array(self.shape, dtype=np.float64) - 1) / 2.0
        if self.beam == "parallel":
            ray = (center - source) / ((center - source) @ normal)
            flat = np.eye(3) - np.outer(ray, normal)  # slides a point along the ray into the plane
            rows = []
            for axis, spacing, offset in zip(
                (column, row), self.pixel_spacing[::-1], middle[::-1], strict=True
            ):
                across = axis @ flat / spacing
                at_center = axis @ flat @ center / spacing
                rows.append([*across, offset - at_center])
            return np.array([*rows, [0.0, 0.0, 0.0, 1.0]])
        depth = self.source_to_detector_mm
        toward = center - source
        u0 = middle[1] - toward @ column / self.pixel_spacing[1]
        v0 = middle[0] - toward @ row / self.pixel_spacing[0]
        linear = np.array(
            [
                depth / self.pixel_spacing[1] * column + u0 * normal,
                depth / self.pixel_spacing[0] * row + v0 * normal,
                normal,
            ]
        )
        return np.column_stack([linear, -linear @ source])

    @classmethod
    def from_matrix(
        cls,
        matrix: np.ndarray,
        *,
        shape: tuple[int, int],
        pixel_spacing: tuple[float, float],
        isocenter: tuple[float, float, float] = (0.0, 0.0, 0.0),
        source_side: tuple[float, float, float] | None = None,
        source_to_detector_mm: float | None = None,
        source_to_isocenter_mm: float | None = None,
    ) -> ViewGeometry:
        """The view of a 3x4 projection matrix of any scale and sign (pixel centres at integers).

        `pixel_spacing` fixes what a cone's matrix leaves open: the size of the detector. A matrix
        with the last row (0, 0, 0, w) is a parallel beam at a right angle to the detector; it
        needs the other three: `source_side` is an LPS direction towards the source, and the
        distances, along the beam, place source and detector about `isocenter`. For matrices of
        another pixel origin see `xrecon.physics.projection_matrices.with_first_pixel`.

        Raises InputError when the matrix is degenerate, has skewed pixels or another aspect ratio
        than `pixel_spacing`, when the isocentre does not lie between source and detector, or when
        the three parallel options are given with a cone or are missing.
        """
        fields = view_fields(
            matrix,
            shape,
            pixel_spacing,
            _vector(isocenter, "isocenter"),
            source_side=source_side,
            source_to_detector_mm=source_to_detector_mm,
            source_to_isocenter_mm=source_to_isocenter_mm,
        )
        return cls(**fields)

    # -- derived values ------------------------------------------------------------------------
    @property
    def normal(self) -> np.ndarray:
        """Unit vector (x, y, z) normal to the detector, pointing away from the source."""
        normal = np.cross(self.row_direction, self.column_direction)
        towards = normal @ (np.array(self.detector_center) - np.array(self.source))
        return normal if towards >= 0 else -normal

    @property
    def source_to_detector_mm(self) -> float:
        """Perpendicular distance from the source to the detector plane."""
        return float(self.normal @ (np.array(self.detector_center) - np.array(self.source)))

    @property
    def source_to_isocenter_mm(self) -> float:
        """Distance from the source to the isocentre."""
        return float(np.linalg.norm(np.array(self.isocenter) - np.array(self.source)))

    @property
    def magnification(self) -> float:
        """Size on the detector over size at the isocentre (1 for a parallel beam)."""
        if self.beam == "parallel":
            return 1.0
        depth = self.normal @ (np.array(self.isocenter) - np.array(self.source))
        return float(self.source_to_detector_mm / depth)

    @property
    def positioner_angles(self) -> tuple[float, float]:
        """DICOM's primary (LAO positive) and secondary (cranial positive) angle of the detector, degrees."""
        from xrecon.physics.poses import positioner_angles

        return positioner_angles(self)

    def pixel_positions(self) -> np.ndarray:
        """LPS mm of every pixel centre, (rows, columns, 3)."""
        offsets = [
            (np.arange(n) - (n - 1) / 2.0) * s for n, s in zip(self.shape, self.pixel_spacing, strict=True)
        ]
        return (
            np.array(self.detector_center)
            + offsets[0][:, None, None] * np.array(self.row_direction)
            + offsets[1][None, :, None] * np.array(self.column_direction)
        )

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixel coordinates (..., 2) as (row, column) of LPS points (..., 3)."""
        points = np.asarray(points, dtype=np.float64)
        homogeneous = points @ self.matrix[:, :3].T + self.matrix[:, 3]
        return homogeneous[..., 1::-1] / homogeneous[..., 2:]

    # -- changes -------------------------------------------------------------------------------
    def resampled(self, shape: tuple[int, int]) -> ViewGeometry:
        """The same detector area with another number of pixels (rows, columns)."""
        spacing = tuple(s * n / m for s, n, m in zip(self.pixel_spacing, self.shape, shape, strict=True))
        return replace(self, shape=shape, pixel_spacing=spacing)

    def cropped(self, first: tuple[int, int], shape: tuple[int, int]) -> ViewGeometry:
        """The part of the detector that starts at pixel `first`; it may reach beyond the edge."""
        shift = [
            (f + (m - 1) / 2.0 - (n - 1) / 2.0) * s
            for f, m, n, s in zip(first, shape, self.shape, self.pixel_spacing, strict=True)
        ]
        moved = shift[0] * np.array(self.row_direction) + shift[1] * np.array(self.column_direction)
        return replace(self.shifted(moved), shape=shape)

    def shifted(self, shift: np.ndarray) -> ViewGeometry:
        """The detector moved by an LPS vector (mm), the rays' direction kept.

        The source of a parallel beam moves along, since it tells nothing but the direction.
        """
        moved = {"detector_center": tuple(np.array(self.detector_center) + shift)}
        if self.beam == "parallel":
            moved["source"] = tuple(np.array(self.source) + shift)
        return replace(self, **moved)

    def moved(
        self, rotation: np.ndarray, translation: np.ndarray | tuple[float, float, float]
    ) -> ViewGeometry:
        """Source, detector and isocentre moved by x -> rotation @ x + translation (LPS mm)."""
        rotation, translation = np.asarray(rotation), np.asarray(translation)
        points = {
            name: tuple(rotation @ np.array(getattr(self, name)) + translation)
            for name in ("source", "detector_center", "isocenter")
        }
        directions = {
            name: tuple(rotation @ np.array(getattr(self, name)))
            for name in ("row_direction", "column_direction")
        }
        return replace(self, **points, **directions)

    def is_close(self, other: ViewGeometry, tolerance_mm: float = 1e-6) -> bool:
        """Whether both have the same beam and shape and every pixel and the source at the same place."""
        return (
            self.beam == other.beam
            and self.shape == other.shape
            and np.allclose(self.source, other.source, rtol=0, atol=tolerance_mm)
            and np.allclose(self.pixel_positions(), other.pixel_positions(), rtol=0, atol=tolerance_mm)
        )

    # -- plain data ----------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `from_dict` rebuilds the view."""
        return {name: _plain(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ViewGeometry:
        """The view written by `to_dict`; raises InputError for unknown or missing fields."""
        known = set(cls.__dataclass_fields__)
        missing = known - {"beam", "isocenter"} - set(data)
        unknown = set(data) - known
        if missing or unknown:
            raise InputError(
                f"expected a view geometry with the fields {sorted(known)}; "
                f"missing {sorted(missing)}, unknown {sorted(unknown)}"
            )
        return cls(**data)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
