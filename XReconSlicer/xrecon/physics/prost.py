"""The published projection of X-Recon's loss, with its defects: for comparisons with that code only.

X-Recon projects its volumes with ProST (Gao et al., Generalizing spatial transformers to projective
geometry with applications to 2D/3D registration, MICCAI 2020). The geometry as run has known
defects, and they are reproduced here on purpose:

- The detector starts at -n/2 pixels instead of -(n-1)/2: half a pixel off its middle.
- All rays share one range of distances from the source, from the nearest to the farthest corner of
  the volume's cube, one step more at both ends. The front face is nearer than any corner, so the
  middle of the picture misses the front 11.7 % of the depth (the skipped cap).
- The index of a sample is n (g + 1) / 2, so that voxel i lies at g = 2 i / n - 1, half a voxel off.
- Samples beyond the last voxel's position count 0: the last slab, one voxel thick, is lost.
- Samples are summed and not multiplied by the step, so that values reach about 70 times the voxels'.
- Lengths are for a cube of 128 units and do not follow the volume's size.

`xrecon.physics.projector` has none of them; use that for everything else.

What the specification leaves open, and the reading chosen here:

- The count of samples, 72 without jitter, fits a half-open range (first distance + k step below the
  last) as well as a closed one; half-open is taken. They differ only when the range is a whole
  number of steps.
- "The last slab never contributes" and "index 6.9 of 8 voxels counts" contradict each other when a
  slab is a layer of voxels. The measured values hold: the last layer counts between the last but
  one and its own position, and nothing lies beyond it. Index 0 counts, below it nothing.
- The spread of the translation, 8 units, is along the axes of the volume, as the point is R g + T.
- The published indices are float32; here points and indices have the volume's type.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import grid_sample

from xrecon.physics.poses import rotation_from_angles
from xrecon.volume import InputError

# Lengths in half widths of the cube, which is 128 units of 1 wide whatever the volume's size.
HALF_WIDTH = 64.0
SOURCE_TO_CENTER = (700.0 - 400.0) / HALF_WIDTH
CENTER_TO_DETECTOR = 400.0 / HALF_WIDTH
DETECTOR_PIXELS = 128
DETECTOR_WIDTH = DETECTOR_PIXELS * 2.92 / HALF_WIDTH
RAY_STEP = 1.75 / HALF_WIDTH

# Euler angles (degrees, Rx @ Ry @ Rz) that turn camera axes into those of the volume, (W, H, D).
# Camera: x along rows (down the picture), y along columns, z from the detector to the source.
BASE_ANGLES_DEG = {
    "axial": (0.0, 0.0, 90.0),
    "sagittal": (90.0, 270.0, 90.0),
    "coronal": (90.0, 180.0, 90.0),
}
PROST_VIEWS = tuple(BASE_ANGLES_DEG)


def sample_points(
    view: str,
    *,
    jitter_deg: Sequence[float] = (0.0, 0.0, 0.0),
    translation: Sequence[float] = (0.0, 0.0, 0.0),
    detector_pixels: int = DETECTOR_PIXELS,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Where the rays of a view are sampled: (sample, row, column, 3).

    Points are (x, y, z) along (W, H, D) in half widths, the volume being [-1, 1]^3. Arguments as in
    `prost_project`. 72 samples per ray without jitter.
    """
    if view not in BASE_ANGLES_DEG:
        raise InputError(f"expected a view out of {PROST_VIEWS}, got {view!r}")
    if detector_pixels < 1:
        raise InputError(f"expected a positive number of detector pixels, got {detector_pixels}")
    offsets = np.asarray([jitter_deg, translation], dtype=np.float64)
    if offsets.shape != (2, 3) or not np.all(np.isfinite(offsets)):
        raise InputError(f"expected three finite angles and translations, got {jitter_deg}, {translation}")
    rotation = rotation_from_angles(tuple(BASE_ANGLES_DEG[view] + offsets[0]))
    source = np.array([0.0, 0.0, SOURCE_TO_CENTER])
    u = (np.arange(detector_pixels) - detector_pixels / 2.0) * (DETECTOR_WIDTH / detector_pixels)
    pixels = np.stack([*np.meshgrid(u, u, indexing="ij"), np.full((len(u),) * 2, -CENTER_TO_DETECTOR)], -1)
    rays = pixels - source
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    signs = np.array([-1.0, 1.0])
    corners = np.stack(np.meshgrid(signs, signs, signs, indexing="ij"), -1).reshape(8, 3)
    distances = np.linalg.norm(corners - (rotation @ source + offsets[1]), axis=1)
    first, last = distances.min() - RAY_STEP, distances.max() + RAY_STEP
    t = first + RAY_STEP * np.arange(int(np.ceil((last - first) / RAY_STEP)))
    start, rays, t = (
        torch.as_tensor(values, dtype=dtype, device=device)
        for values in (rotation @ source + offsets[1], rays @ rotation.T, t)
    )
    return start + t[:, None, None, None] * rays


def prost_project(
    volume: torch.Tensor,
    views: Sequence[str] = PROST_VIEWS,
    *,
    jitter_deg: Sequence[float] = (0.0, 0.0, 0.0),
    translation: Sequence[float] = (0.0, 0.0, 0.0),
    detector_pixels: int = DETECTOR_PIXELS,
) -> torch.Tensor:
    """Sums of samples (b, view, row, column) of a volume (b, 1, D, H, W), with the published defects.

    D index 0 is superior, H index 0 anterior, W grows to the patient's left; flip XRecon's z axis
    for this order. Picture axes and source without jitter:
    "axial" rows +H, columns -W, source beyond the last D; "sagittal" rows +D, columns +H, source
    before the first W; "coronal" rows +D, columns +W, source beyond the last H (PA).

    jitter_deg: added to the three Euler angles of every view. translation: of the view, along
        (W, H, D) in half widths. Both are one draw for all views (N(0, 10 deg), N(0, 0.125)).
    detector_pixels: rows and columns; the detector keeps its width.

    Differentiable with respect to the volume. Raises InputError for a tensor that is not
    (b, 1, D, H, W) with two or more voxels per axis and for unknown views.
    """
    if volume.ndim != 5 or volume.shape[1] != 1 or min(volume.shape[2:]) < 2:
        raise InputError(
            f"expected a volume (b, 1, D, H, W) with two or more voxels per axis, got {tuple(volume.shape)}"
        )
    if not views:
        raise InputError(f"expected one or more views out of {PROST_VIEWS}, got none")
    projections = []
    for view in views:
        points = sample_points(
            view,
            jitter_deg=jitter_deg,
            translation=translation,
            detector_pixels=detector_pixels,
            dtype=volume.dtype,
            device=volume.device,
        )
        projections.append(_sampled(volume, points).sum(dim=1))
    return torch.stack(projections, dim=1)


def _sampled(volume: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Values (b, *points.shape[:-1]) at points (..., 3) of [-1, 1]^3, ordered (x, y, z)."""
    counts = torch.tensor(volume.shape[:1:-1], dtype=points.dtype, device=points.device)  # (W, H, D)
    index = (points + 1.0) * (counts / 2.0)
    inside = ((index >= 0) & (index < counts - 1)).all(dim=-1)
    grid = index * (2.0 / (counts - 1)) - 1.0
    # the batch rides along as channels, since all volumes share the points
    values = grid_sample(volume[:, 0][None], grid[None], "bilinear", "zeros", align_corners=True)[0]
    return values * inside
