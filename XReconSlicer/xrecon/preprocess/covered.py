"""What in a radiograph is not the patient: collimation borders and burnt-in or lead markers.

A border is looked for along each side, at tilts of up to 6 degrees: lines that are bright from end to end
(no beam came there) or of one value (a shutter drawn later), and that end at a straight, sharp edge. A
marker is a small part with sharp edges that stands out of its surroundings, away from the middle of the
picture or of the chest. Both are filled from what surrounds them: the nearest uncovered pixel for
borders, which continues the body, and the local background for markers.

Limits were set on projections of eight CTs with planted borders and markers (Testing/Python/test_covered.py
has the like of them).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Sides of the working pictures, pixels.
BORDER_PIXELS, MARKER_PIXELS = 256, 512
TILTS_DEG = np.arange(-6.0, 6.1, 1.0)
# A border takes at most this share of the picture's height or width.
DEEPEST = 0.3
# Grey values below are shares of the picture's range (0.5th to 99.5th percentile).
BRIGHT = 0.6
CONSTANT = 0.02
# How large the step at a border's edge is, and along which share of the line it is seen: a bright bar is
# not seen over bright tissue; a dark constant border must differ from air, whose edge is not straight.
STEP_BRIGHT, SEEN_BRIGHT = 0.25, 0.2
STEP_CONSTANT, SEEN_CONSTANT = 0.08, 0.6
# A marker's contrast, how sharp its edges are (range among neighbours); its largest side and least area as
# shares of the picture's long side and area; parts nearer to each other than this share are one marker.
MARKER_CONTRAST, MARKER_SHARPNESS = 0.22, 0.5
LARGEST_MARKER, SMALLEST_MARKER, JOINED = 0.14, 3e-5, 0.012
# A part of fewer pixels is noise. On two real radiographs lead letters had a sharpness of 0.77 and more, an
# acromion 0.21; bones on films of six CTs at 3.4 mm had 0.46 at most.
LEAST_PIXELS = 6
# Share of the box around the lungs (or of the picture) in which nothing is called a marker.
KEPT_MIDDLE = 0.9


@dataclass(frozen=True, eq=False)
class Covered:
    """border, markers: boolean (row, column). sides: share of the picture behind each side's border."""

    border: np.ndarray
    markers: np.ndarray
    sides: dict[str, float]
    marker_count: int

    @property
    def anything(self) -> bool:
        """Whether there is a border or a marker."""
        return bool(self.sides or self.marker_count)

    def note(self) -> str:
        """One clause for the history, e.g. "top border 4 %, 1 marker (0.2 % of the picture)"."""
        parts = [f"{side} border {100 * share:.0f} %" for side, share in self.sides.items()]
        if self.marker_count:
            plural = "" if self.marker_count == 1 else "s"
            share = 100 * float(self.markers.mean())
            parts.append(f"{self.marker_count} marker{plural} ({share:.2g} % of the picture)")
        return ", ".join(parts)


def find_border(array: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """Which pixels of a picture (row, column), bright = dense, a collimation border covers, and how deep it
    is at each side."""
    small = _unit(_reduced(array, BORDER_PIXELS))
    row, column = (np.arange(n, dtype=np.float64) for n in array.shape)
    mask, sides = np.zeros(array.shape, dtype=bool), {}
    for side in ("top", "bottom", "left", "right"):
        found = _edge(_from_side(small, side))
        if found is None:
            continue
        depth, slope = found  # pixels of `small`, seen from the side
        across, along = (row, column) if side in ("top", "bottom") else (column, row)
        scale = len(across) / _from_side(small, side).shape[0]
        across = across if side in ("top", "left") else len(across) - 1.0 - across
        limit = depth * scale + slope * (along - (len(along) - 1) / 2.0)
        covered = (
            across[:, None] < limit[None] if side in ("top", "bottom") else across[None] < limit[:, None]
        )
        mask |= covered
        sides[side] = float(covered.mean())
    return mask, sides


def _from_side(picture: np.ndarray, side: str) -> np.ndarray:
    """The picture with the side as its top."""
    if side in ("left", "right"):
        picture = picture.T
    return picture[::-1] if side in ("bottom", "right") else picture


def _edge(picture: np.ndarray) -> tuple[float, float] | None:
    """Depth (pixels) in the middle and slope of the innermost edge of a border at the top, or None."""
    height, width = picture.shape
    deepest, gap = int(DEEPEST * height), max(2, height // 50)
    along = np.arange(width) - (width - 1) / 2.0
    found: list[tuple[int, float, float]] = []
    for slope in np.tan(np.radians(TILTS_DEG)):
        rows = np.arange(deepest + 2 * gap)[:, None] + np.rint(slope * along)[None].astype(int)
        lines = np.take_along_axis(picture, np.clip(rows, 0, height - 1), axis=0)
        low, high = np.percentile(lines, [10, 90], axis=1)
        step = np.abs(lines[gap:] - lines[:-gap])
        for depth in range(1, deepest):
            is_bright = low[depth - 1] > BRIGHT
            is_constant = high[depth - 1] - low[depth - 1] < CONSTANT
            if not (is_bright or is_constant):
                continue
            limit, needed = (STEP_BRIGHT, SEEN_BRIGHT) if is_bright else (STEP_CONSTANT, SEEN_CONSTANT)
            seen = float((step[depth - 1] > limit).mean())
            if seen >= needed and low[depth - 1 + gap] < BRIGHT:
                found.append((depth, float(slope), float(step[depth - 1].mean())))
    if not found:
        return None
    innermost = max(depth for depth, _, _ in found)
    near = [each for each in found if each[0] >= innermost - 8]
    depth, slope, _ = max(near, key=lambda each: each[2])
    return float(depth + gap), slope  # to the inner end of the step


def find_markers(
    array: np.ndarray, border: np.ndarray, kept: tuple[slice, slice] | None = None
) -> tuple[np.ndarray, int]:
    """Which pixels (row, column) markers cover, and how many markers there are.

    border: what is covered anyway. kept: where nothing is taken for a marker, the chest; by default the
    middle of the picture.
    """
    from scipy import ndimage

    small = _unit(_reduced(array, MARKER_PIXELS), ~_reduced_mask(border, MARKER_PIXELS))
    side = max(small.shape)
    size = int(LARGEST_MARKER * side / 2) | 1
    bright = small - ndimage.grey_opening(small, size=(size, size))
    dark = ndimage.grey_closing(small, size=(size, size)) - small
    sharp = ndimage.grey_dilation(small, 3) - ndimage.grey_erosion(small, 3)
    near_border = ndimage.binary_dilation(_reduced_mask(border, MARKER_PIXELS), iterations=4)
    inside = _kept_box(small.shape, array.shape, kept)
    markers = np.zeros(small.shape, dtype=bool)
    # bright letters and dark plates apart: a letter in air must not be joined with the air around it
    for contrast in (bright, dark):
        raised = (contrast > MARKER_CONTRAST) & ~near_border
        labels, _ = ndimage.label(ndimage.binary_dilation(raised, iterations=max(1, int(JOINED * side))))
        for label, place in enumerate(ndimage.find_objects(labels), start=1):
            whole = labels[place] == label
            if _is_marker(whole & raised[place], place, small.shape, inside, sharp[place]):
                markers[place] |= whole
    number = int(ndimage.label(markers)[1])
    grown = ndimage.zoom(markers.astype(np.uint8), np.divide(array.shape, markers.shape), order=0)
    full = np.zeros(array.shape, dtype=bool)
    rows, columns = (min(a, b) for a, b in zip(grown.shape, array.shape, strict=True))
    full[:rows, :columns] = grown[:rows, :columns] > 0
    return full & ~border, number


def _is_marker(
    part: np.ndarray,
    place: tuple[slice, slice],
    shape: tuple[int, int],
    inside: tuple[slice, slice],
    sharp: np.ndarray,
) -> bool:
    """Whether what stands out, boolean in the rectangle `place`, is small, sharp and outside the chest."""
    if part.sum() < max(LEAST_PIXELS, SMALLEST_MARKER * shape[0] * shape[1]):
        return False
    if max(s.stop - s.start for s in place) > LARGEST_MARKER * max(shape):
        return False
    if any(s.start == 0 or s.stop == n for s, n in zip(place, shape, strict=True)):
        return False  # a jaw or an arm that the picture cuts
    middle = [s.start + float(index.mean()) for s, index in zip(place, np.nonzero(part), strict=True)]
    if all(s.start <= m < s.stop for s, m in zip(inside, middle, strict=True)):
        return False
    return float(np.percentile(sharp[part], 75)) >= MARKER_SHARPNESS


def _kept_box(
    small: tuple[int, int], shape: tuple[int, int], kept: tuple[slice, slice] | None
) -> tuple[slice, slice]:
    if kept is None:
        edge = (1.0 - KEPT_MIDDLE / 1.5) / 2.0
        return tuple(slice(int(n * edge), int(n * (1.0 - edge))) for n in small)
    return tuple(
        slice(int(k.start * m / n), int(k.stop * m / n)) for k, m, n in zip(kept, small, shape, strict=True)
    )


def find_covered(array: np.ndarray, kept: tuple[slice, slice] | None = None) -> Covered:
    """Border and markers of a picture (row, column), bright = dense; `kept` as in `find_markers`."""
    border, sides = find_border(array)
    markers, count = find_markers(array, border, kept)
    return Covered(border, markers, sides, count)


def uncovered(array: np.ndarray, covered: Covered) -> np.ndarray:
    """The picture (row, column), float32, with border and markers filled from their surroundings."""
    from scipy import ndimage

    result = array.astype(np.float32)
    if covered.markers.any():
        reach = max(3, int(LARGEST_MARKER * max(array.shape) / 4))
        weight = (~(covered.markers | covered.border)).astype(np.float32)
        mean = ndimage.gaussian_filter(result * weight, reach, mode="nearest")
        share = ndimage.gaussian_filter(weight, reach, mode="nearest")
        result = np.where(covered.markers, mean / np.maximum(share, 1e-6), result)
    if covered.border.any() and not covered.border.all():
        rim = ndimage.binary_dilation(covered.border, iterations=max(1, max(array.shape) // 200))
        rim = rim if not rim.all() else covered.border
        nearest = ndimage.distance_transform_edt(rim, return_distances=False, return_indices=True)
        result = np.where(covered.border, result[tuple(nearest)], result)
    return result.astype(np.float32)


# -- working pictures --------------------------------------------------------------------------
def _reduced(array: np.ndarray, side: int) -> np.ndarray:
    """The picture with at most `side` pixels along its long side, antialiased."""
    from scipy import ndimage

    step = max(1.0, max(array.shape) / side)
    picture = array.astype(np.float32)
    if step == 1.0:
        return picture
    blurred = ndimage.gaussian_filter(picture, step / 3.0, mode="nearest")
    shape = tuple(max(8, int(n / step)) for n in array.shape)
    scale = [n / m for n, m in zip(array.shape, shape, strict=True)]
    first = [s / 2.0 - 0.5 for s in scale]
    return ndimage.affine_transform(blurred, scale, offset=first, output_shape=shape, order=1, mode="nearest")


def _reduced_mask(mask: np.ndarray, side: int) -> np.ndarray:
    return _reduced(mask.astype(np.float32), side) > 0.01


def _unit(picture: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    values = picture if valid is None or not valid.any() else picture[valid]
    low, high = np.percentile(values, [0.5, 99.5])
    return np.clip((picture - low) / max(float(high - low), 1e-12), 0.0, 1.0).astype(np.float32)
