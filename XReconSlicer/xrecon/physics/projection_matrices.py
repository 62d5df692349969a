"""What a 3x4 projection matrix says about a view: `ViewGeometry.from_matrix` with its refusals.

A matrix maps P @ (x, y, z, 1) = w (column, row, 1), LPS mm to pixels. In XRecon the centre of the
first pixel is (0, 0); `with_first_pixel` converts from and to other origins.

Cone beam (Hartley and Zisserman, Multiple View Geometry, 2004, section 6.2): the source is the null
vector, the last row the detector normal, and the rest the detector axes in pixels per focal length.
Parallel beam: the last row is (0, 0, 0, w). Such a matrix holds neither the side of the source nor
any distance along the beam, so these must be told.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xrecon.volume import InputError

SKEW_TOLERANCE = 1e-6
ASPECT_TOLERANCE = 1e-4


def with_first_pixel(
    matrix: np.ndarray, to: tuple[float, float], *, of: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """The 3x4 matrix for another pixel origin.

    `of`, `to`: coordinates (row, column) of the first pixel's centre before and after: (0, 0) in
    XRecon, (0.5, 0.5) where the corner of the detector is the origin, (1, 1) where counting starts
    at one. So `with_first_pixel(foreign, (0, 0), of=(1, 1))` takes a matrix in, and
    `with_first_pixel(view.matrix, (1, 1))` hands one out.
    """
    shift = np.eye(3)
    shift[:2, 2] = (np.asarray(to, dtype=np.float64) - np.asarray(of, dtype=np.float64))[::-1]
    return shift @ np.asarray(matrix, dtype=np.float64)


def view_fields(
    matrix: np.ndarray,
    shape: tuple[int, int],
    pixel_spacing: tuple[float, float],
    isocenter: tuple[float, float, float],
    *,
    source_side: tuple[float, float, float] | None = None,
    source_to_detector_mm: float | None = None,
    source_to_isocenter_mm: float | None = None,
) -> dict[str, Any]:
    """The fields of the `ViewGeometry` that has this matrix; arguments as in `from_matrix`."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (3, 4) or not np.all(np.isfinite(matrix)):
        raise InputError(f"expected a finite 3x4 projection matrix, got shape {matrix.shape}")
    linear = matrix[:, :3]
    told = (source_side, source_to_detector_mm, source_to_isocenter_mm)
    iso = np.array(isocenter, dtype=np.float64)
    if np.linalg.norm(linear[2]) <= 1e-12 * np.linalg.norm(linear):
        if any(value is None for value in told):
            raise InputError(
                "expected source_side, source_to_detector_mm and source_to_isocenter_mm with the matrix "
                f"of a parallel beam, which holds none of them, got {told}"
            )
        fields = _parallel(matrix, shape, pixel_spacing, iso, *told)
    else:
        if any(value is not None for value in told):
            raise InputError(
                "expected source_side and distances for parallel beams only, got them with the matrix "
                "of a cone beam, which holds them"
            )
        fields = _cone(matrix, shape, pixel_spacing, iso)
    return {
        "shape": shape,
        "pixel_spacing": pixel_spacing,
        "isocenter": isocenter,
        **{name: value if isinstance(value, str) else tuple(value) for name, value in fields.items()},
    }


def _cone(
    matrix: np.ndarray, shape: tuple[int, int], pixel_spacing: tuple[float, float], isocenter: np.ndarray
) -> dict[str, Any]:
    linear = matrix[:, :3]
    if abs(np.linalg.det(linear)) < 1e-12 * np.linalg.norm(linear) ** 3:
        raise InputError("expected a cone-beam projection matrix, got a singular one")
    source = -np.linalg.solve(linear, matrix[:, 3])
    linear = linear / np.linalg.norm(linear[2])
    depth = float(linear[2] @ (isocenter - source))
    if depth < 0:  # the matrix may have any sign; the isocentre lies before the source
        linear, depth = -linear, -depth
    normal = linear[2]
    u0, v0 = linear[0] @ normal, linear[1] @ normal
    column, row = linear[0] - u0 * normal, linear[1] - v0 * normal
    focal = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    row, column = row / focal[0], column / focal[1]
    _require_right_angle(row, column)
    distances = focal * np.array(pixel_spacing)
    if abs(distances[0] - distances[1]) > ASPECT_TOLERANCE * distances.max():
        raise InputError(
            "expected the matrix to have the aspect ratio of the pixel spacing, got "
            f"source-to-detector {distances[0]:.3f} mm along rows and {distances[1]:.3f} mm along columns"
        )
    to_detector = distances.mean()
    if not 1e-6 * to_detector < depth < to_detector:
        raise InputError(
            "expected the isocentre between source and detector, got it "
            f"{depth:.3f} mm from the plane of the source, whose detector is {to_detector:.3f} mm away"
        )
    center = source + to_detector * normal + _to_middle(shape, pixel_spacing, (v0, u0), row, column)
    return {"source": source, "detector_center": center, "row_direction": row, "column_direction": column}


def _parallel(
    matrix: np.ndarray,
    shape: tuple[int, int],
    pixel_spacing: tuple[float, float],
    isocenter: np.ndarray,
    source_side: tuple[float, float, float],
    source_to_detector_mm: float,
    source_to_isocenter_mm: float,
) -> dict[str, Any]:
    if not 0 < source_to_isocenter_mm < source_to_detector_mm:
        raise InputError(
            "expected 0 < source_to_isocenter_mm < source_to_detector_mm, got "
            f"{source_to_isocenter_mm} and {source_to_detector_mm}"
        )
    if abs(matrix[2, 3]) <= 1e-12 * np.abs(matrix).max():
        raise InputError("expected the last row (0, 0, 0, w) of a parallel beam with w, got zeros")
    matrix = matrix / matrix[2, 3]
    column, row = matrix[0, :3], matrix[1, :3]
    found = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if found.min() <= 1e-12 * found.max():
        raise InputError("expected rows and columns along two directions, got a singular matrix")
    row, column = row / found[0], column / found[1]
    _require_right_angle(row, column)
    if np.abs(found * np.array(pixel_spacing) - 1).max() > ASPECT_TOLERANCE:
        raise InputError(
            f"expected the matrix of a parallel beam to have pixels of {tuple(pixel_spacing)} mm at a right "
            f"angle to the beam, got {tuple(1 / found)}; a tilted detector cannot be had from its matrix"
        )
    beam = np.cross(row, column)
    side = np.asarray(source_side, dtype=np.float64)
    if side.shape != (3,) or not abs(side @ beam) > 1e-6 * np.linalg.norm(side):
        raise InputError(
            "expected source_side as an LPS direction (x, y, z) towards the source, not at a right "
            f"angle to the beam {tuple(np.round(beam, 6))}, got {source_side}"
        )
    beam = -np.sign(side @ beam) * beam
    iso_pixel = (matrix[:2] @ [*isocenter, 1.0])[::-1]
    middle = isocenter + _to_middle(shape, pixel_spacing, iso_pixel, row, column)
    return {
        "source": middle - source_to_isocenter_mm * beam,
        "detector_center": middle + (source_to_detector_mm - source_to_isocenter_mm) * beam,
        "row_direction": row,
        "column_direction": column,
        "beam": "parallel",
    }


def _to_middle(
    shape: tuple[int, int],
    pixel_spacing: tuple[float, float],
    pixel: tuple[float, float],
    row: np.ndarray,
    column: np.ndarray,
) -> np.ndarray:
    """LPS vector in the detector plane from a pixel (row, column) to the middle of the detector."""
    down, right = (((n - 1) / 2.0 - p) * s for n, p, s in zip(shape, pixel, pixel_spacing, strict=True))
    return down * row + right * column


def _require_right_angle(row: np.ndarray, column: np.ndarray) -> None:
    if abs(row @ column) > SKEW_TOLERANCE:
        raise InputError(f"expected pixels with a right angle, got a skew of {row @ column:.2e}")
