"""The pose of a radiograph that a volume explains best: descent through the differentiable projector.

Source and detector of one view move together by a rotation about the isocentre and a translation, given in
the view's own axes: (column, row, beam). A step along the beam changes the distance from the source to the
patient, and with it the magnification; that is how distances that were guessed wrongly show. The loss is
one minus the correlation of picture and reprojection less their local means (the structure correlation of
`xrecon.evaluation.reprojection`, blind to gain, offset and slow changes), with a prior on each number, since
a volume computed from the same radiograph would excuse much. Two views determine the shift along the
patient, the scale and the tilt of one against the other; a turn about the long axis, or a shift from front
to back, they hardly see, and the prior keeps those small.

Registration of 2D to 3D by gradients through DRRs: Gopalakrishnan and Golland, "Fast auto-differentiable
digitally reconstructed radiographs", MICCAI workshop CLIP 2022; here with `xrecon.physics.projector`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from xrecon.physics.attenuation import hu_to_attenuation
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.projector import Projector
from xrecon.physics.rays import moved_frames
from xrecon.volume import Radiograph, Volume

# Standard deviations of the prior: degrees about (column, row, beam) axis, mm along them. The turn about the
# row axis, the patient's long one, is kept smallest: two views together may take any.
PRIOR_DEG, PRIOR_MM = (4.0, 1.5, 4.0), (15.0, 15.0, 80.0)
PRIOR_WEIGHT = 1e-3
# What lies this many standard deviations off is no error of positioning.
PLAUSIBLE = 3.0
PIXELS, ITERATIONS = 64, 25
# As that correlation has them: Gaussian whose local mean is taken away, at the isocentre; the volume must
# lie along so much of a ray.
DETREND_SIGMA_MM, FIELD_SHARE, ENERGY_KEV = 30.0, 0.9, 70.0


@dataclass(frozen=True)
class PoseFit:
    """How a view's pose was changed, in its own axes (column, row, beam).

    angles_deg: rotation vector about the isocentre; shift_mm: translation of source and detector.
    residual_before, residual_after: one minus the correlation with the volume it was fitted to.
    """

    view: str
    angles_deg: tuple[float, float, float]
    shift_mm: tuple[float, float, float]
    scale: float
    residual_before: float
    residual_after: float

    @property
    def is_plausible(self) -> bool:
        """Whether every number lies well within what positioning errors are."""
        off = (*np.divide(self.angles_deg, PRIOR_DEG), *np.divide(self.shift_mm, PRIOR_MM))
        return bool(np.abs(off).max() < PLAUSIBLE)

    def applied(
        self, geometry: ViewGeometry, less_lps_mm: np.ndarray | tuple[float, ...] = (0.0, 0.0, 0.0)
    ) -> ViewGeometry:
        """The geometry of any detector of this view, moved; its isocentre stays where it is.

        less_lps_mm: translation that is left out.
        """
        axes, center = _axes(geometry), np.array(geometry.isocenter)
        rotation = _rotation(axes @ np.radians(self.angles_deg))
        shift = axes @ np.array(self.shift_mm) - np.asarray(less_lps_mm)
        moved = geometry.moved(rotation, center + shift - rotation @ center)
        return replace(moved, isocenter=geometry.isocenter)

    def across_lps_mm(self, geometry: ViewGeometry) -> np.ndarray:
        """The part of the translation across the beam, LPS mm."""
        return _axes(geometry)[:, :2] @ np.array(self.shift_mm[:2])

    def text(self) -> str:
        """What was changed, for people."""
        angles = ", ".join(f"{a:+.1f}" for a in self.angles_deg)
        return (
            f"{self.view}: turned by ({angles}) degrees, shifted by {self.shift_mm[0]:+.1f} mm across and "
            f"{self.shift_mm[1]:+.1f} mm along the patient, scale {100 * (self.scale - 1):+.1f} %"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "view": self.view,
            "angles_deg": list(self.angles_deg),
            "shift_mm": list(self.shift_mm),
            "scale": self.scale,
            "residual_before": self.residual_before,
            "residual_after": self.residual_after,
        }


def fit_pose(volume: Volume, radiograph: Radiograph, iterations: int = ITERATIONS) -> PoseFit:
    """The pose in which a volume in HU explains a radiograph best, starting from the radiograph's own.

    radiograph: upright on the network's detector, bright = dense; what is covered in it does not count.
    iterations: of L-BFGS.
    """
    small = _small(radiograph)
    geometry = small.geometry
    hu = torch.as_tensor(np.ascontiguousarray(volume.array, dtype=np.float32))
    attenuation = hu_to_attenuation(hu, ENERGY_KEV)[None, None]
    projector = Projector.of_volume([geometry], volume)
    picture = torch.as_tensor(np.ascontiguousarray(small.array, dtype=np.float32))
    with torch.no_grad():
        field = projector(torch.ones_like(attenuation))[0, 0]
    weights = (field >= FIELD_SHARE * field.max()).float() * torch.as_tensor(small.seen)
    blur = _Blur(geometry)
    axes = torch.as_tensor(_axes(geometry), dtype=projector.frames.dtype)
    center = torch.as_tensor(geometry.isocenter, dtype=axes.dtype)[None]
    scale = torch.as_tensor([*np.radians(PRIOR_DEG), *PRIOR_MM], dtype=axes.dtype)
    change = torch.zeros(6, dtype=axes.dtype, requires_grad=True)

    def residual() -> torch.Tensor:
        motion = change * scale
        frames = moved_frames(projector.frames, (axes @ motion[:3])[None], (axes @ motion[3:])[None], center)
        return 1.0 - blur.correlation(projector(attenuation, frames)[0, 0], picture, weights)

    optimizer = torch.optim.LBFGS([change], max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = residual() + PRIOR_WEIGHT * change.square().sum()
        loss.backward()
        return loss

    before = float(residual().detach())
    optimizer.step(closure)
    after = float(residual().detach())
    motion = (change.detach() * scale).numpy().astype(float)
    found = PoseFit(
        radiograph.view,
        tuple(map(float, np.degrees(motion[:3]))),
        tuple(map(float, motion[3:])),
        1.0,
        before,
        after,
    )
    return pose_change(radiograph.view, geometry, found.applied(geometry), (before, after))


def fit_views(
    volume: Volume,
    pictures: Sequence[Radiograph],
    geometries: Sequence[ViewGeometry],
    progress: Callable[[float, str], None] | None = None,
) -> list[ViewGeometry]:
    """The geometries of some detectors, each moved as a volume in HU explains the view's picture best.

    pictures: on the network's detector, for `fit_pose`; geometries: of any detector of the same views, in
    the same order. A shift that all views share moves the patient, not a view: it is left out, so that the
    first view stands. progress: called with the share that is done and the view's name.
    """
    fits = []
    for number, picture in enumerate(pictures):
        if progress:
            progress(number / len(pictures), picture.view)
        fits.append(fit_pose(volume, picture))
    common = fits[0].across_lps_mm(pictures[0].geometry)
    return [fit.applied(geometry, common) for fit, geometry in zip(fits, geometries, strict=True)]


def pose_change(
    view: str, before: ViewGeometry, after: ViewGeometry, residuals: tuple[float, float]
) -> PoseFit:
    """The change that makes the second geometry of a view out of the first."""
    from scipy.spatial.transform import Rotation

    axes, center = _axes(before), np.array(before.isocenter)
    rotation = _axes(after) @ axes.T
    shift = np.array(after.source) - center - rotation @ (np.array(before.source) - center)
    angles = np.degrees(axes.T @ Rotation.from_matrix(rotation).as_rotvec())
    scale = 1.0 if before.beam == "parallel" else after.magnification / before.magnification
    return PoseFit(
        view, tuple(map(float, angles)), tuple(map(float, axes.T @ shift)), float(scale), *residuals
    )


def _small(radiograph: Radiograph) -> Radiograph:
    """The radiograph on a coarse detector: poses need no fine pixels. One that takes in a covered pixel is
    covered."""
    step = max(1, min(radiograph.array.shape) // PIXELS)
    rows, columns = (n // step * step for n in radiograph.array.shape)
    array = radiograph.array[:rows, :columns].reshape(rows // step, step, columns // step, step).mean((1, 3))
    geometry = radiograph.geometry.cropped((0, 0), (rows, columns)).resampled(array.shape)
    covered = radiograph.covered
    if covered is not None:
        covered = covered[:rows, :columns].reshape(rows // step, step, columns // step, step).any((1, 3))
    return replace(radiograph, array=array, geometry=geometry, covered=covered)


def _axes(geometry: ViewGeometry) -> np.ndarray:
    """Column direction, row direction and beam as columns."""
    return np.column_stack([geometry.column_direction, geometry.row_direction, geometry.normal])


def _rotation(vector: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(vector).as_matrix()


class _Blur:
    """Local means by a Gaussian of `DETREND_SIGMA_MM` at the isocentre, over weighted pixels."""

    def __init__(self, geometry: ViewGeometry) -> None:
        self.kernels = []
        for spacing in geometry.pixel_spacing:
            sigma = DETREND_SIGMA_MM * geometry.magnification / spacing
            reach = torch.arange(-int(3 * sigma), int(3 * sigma) + 1, dtype=torch.float32)
            kernel = torch.exp(-0.5 * (reach / sigma) ** 2)
            self.kernels.append(kernel / kernel.sum())

    def __call__(self, picture: torch.Tensor) -> torch.Tensor:
        rows, columns = self.kernels
        blurred = functional.conv2d(picture[None, None], rows[None, None, :, None], padding="same")
        return functional.conv2d(blurred, columns[None, None, None], padding="same")[0, 0]

    def correlation(self, p: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Pearson's correlation of two pictures less their local means, over the weighted pixels."""
        share = self(weights).clamp_min(1e-6)
        p, y = (weights * (each - self(weights * each) / share) for each in (p.float(), y))
        p, y = (each - weights * each.sum() / weights.sum() for each in (p, y))
        return (p * y).sum() / (p.norm() * y.norm()).clamp_min(1e-12)
