"""The three losses of X-Recon (paper section III-C): voxels, projections, adversarial.

Their weights live in `xrecon.training.config.LossConfig`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.poses import rotation_from_angles
from xrecon.physics.projector import Projector
from xrecon.physics.prost import (
    CENTER_TO_DETECTOR,
    DETECTOR_PIXELS,
    DETECTOR_WIDTH,
    RAY_STEP,
    SOURCE_TO_CENTER,
    prost_project,
)
from xrecon.volume import InputError

PROJECTION_VIEWS = ("PA", "LEFT LATERAL", "AXIAL")

# How the published views are called, and the two geometries of the loss.
_PROST_NAMES = {"PA": "coronal", "LEFT LATERAL": "sagittal", "AXIAL": "axial"}
PROJECTION_GEOMETRIES = ("exact", "prost")


class ReconstructionLoss(nn.Module):
    """Mean squared difference of two volumes (b, 1, z, y, x): the paper's L2 loss, equation 1.

    The published code squares where the paper writes the norm; so does this. Raises InputError
    when the shapes differ, since broadcasting would hide the mistake.
    """

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        _require_same_shape(prediction, target)
        return F.mse_loss(prediction, target)


class ProjectionLoss(nn.Module):
    """Mean absolute difference of line integrals in orthogonal views: equation 2 of the paper.

    Called with two cubic volumes (b, 1, z, y, x) of network values (0..1), z towards superior, and
    a random generator (numpy or torch) for this step's pose. One rotation and one translation move
    all views together, as if the patient had moved the other way; without a generator the views
    stand still.

    Normalisation: lengths are in half widths of the volume, and a line integral is divided by
    `RAY_STEP`, so a difference v all along a ray through the middle of the cube counts 73.1 v
    whatever the number of voxels. That is the scale of the published sums, whose weight is 0.1.

    side: voxels per edge.
    views: any of "PA", "LEFT LATERAL", "AXIAL"; the loss is the mean over them.
    jitter_deg: standard deviation of each of three Euler angles, degrees.
    jitter_fraction: standard deviation of the translation along each axis, as a fraction of half
        the volume's width.
    detector_pixels: rows and columns of each projection; unless given, `side`, or the published 128
        with geometry "prost".
    geometry: "exact" has the published distances, but rays are cut with the whole cube (no skipped
        cap, no lost last slab), pixels are centred, and lengths count. "prost" reproduces the
        published projector with its known defects (`xrecon.physics.prost`), for comparisons.

    Raises InputError for options or volumes that do not fit.
    """

    def __init__(
        self,
        side: int,
        *,
        views: Sequence[str] = PROJECTION_VIEWS,
        jitter_deg: float = 10.0,
        jitter_fraction: float = 0.125,
        detector_pixels: int | None = None,
        geometry: str = "exact",
    ) -> None:
        super().__init__()
        if geometry not in PROJECTION_GEOMETRIES:
            raise InputError(f"expected geometry to be one of {PROJECTION_GEOMETRIES}, got {geometry!r}")
        if not views or not set(views) <= set(PROJECTION_VIEWS):
            raise InputError(f"expected one or more views out of {PROJECTION_VIEWS}, got {tuple(views)}")
        if side < 1 or jitter_deg < 0 or jitter_fraction < 0:
            raise InputError(
                "expected a positive side and no negative jitter, got "
                f"side {side}, jitter_deg {jitter_deg}, jitter_fraction {jitter_fraction}"
            )
        self.side = side
        self.jitter_deg, self.jitter_fraction = jitter_deg, jitter_fraction
        self.geometry, self.names = geometry, tuple(views)
        self.detector_pixels = detector_pixels or (DETECTOR_PIXELS if geometry == "prost" else side)
        self.views = tuple(_view(name, self.detector_pixels) for name in views)

    def forward(
        self,
        prediction: torch.Tensor,
        target: torch.Tensor,
        rng: np.random.Generator | torch.Generator | None = None,
    ) -> torch.Tensor:
        """Scalar loss; draws one pose from `rng` unless it is None."""
        _require_same_shape(prediction, target)
        if prediction.ndim != 5 or tuple(prediction.shape[1:]) != (1, *(self.side,) * 3):
            raise InputError(
                f"expected volumes (batch, 1, {self.side}, {self.side}, {self.side}), "
                f"got {tuple(prediction.shape)}"
            )
        # A is linear: one projection of the difference instead of two projections
        difference = prediction - target
        if difference.dtype in (torch.float16, torch.bfloat16):
            difference = difference.float()
        if self.geometry == "prost":
            angles, translation = self._pose(rng)
            maps = prost_project(
                difference.flip(2),  # its first slice is the superior one
                [_PROST_NAMES[name] for name in self.names],
                jitter_deg=angles,
                translation=translation,
                detector_pixels=self.detector_pixels,
            )
            return maps.abs().mean()
        projector = Projector(
            self.posed_views(rng),
            (self.side,) * 3,
            (2.0 / self.side,) * 3,
            device=difference.device,
            dtype=difference.dtype,
        )
        return projector(difference).abs().mean() / RAY_STEP

    def posed_views(self, rng: np.random.Generator | torch.Generator | None) -> tuple[ViewGeometry, ...]:
        """The views after one random pose; the fixed ones when `rng` is None. Geometry "exact" only."""
        if rng is None:
            return self.views
        angles, translation = self._pose(rng)
        rotation = rotation_from_angles(tuple(angles))
        return tuple(view.moved(rotation, translation) for view in self.views)

    def _pose(self, rng: np.random.Generator | torch.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Three angles in degrees and a translation in half widths; zeros when `rng` is None."""
        numbers = np.zeros(6) if rng is None else _normal(rng, 6)
        return self.jitter_deg * numbers[:3], self.jitter_fraction * numbers[3:]


@dataclass(frozen=True)
class LeastSquaresGANLoss:
    """Least squares adversarial loss: score 1 is real, 0 generated (equations 3 and 4).

    Scores come from a discriminator that also sees the radiographs, which is what makes the loss
    conditional; any shape, the mean over all scores is taken.

    half: the factor 1/2 of the paper. The published code has none, so its weights (1 adversarial
        to 10 reconstruction) mean twice as much adversarial loss as the same weights with `half`.
    """

    half: bool = True

    def generator(self, fake: torch.Tensor) -> torch.Tensor:
        """Loss of the generator: how far the scores of generated volumes are from real."""
        return self._factor * ((fake - 1) ** 2).mean()

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Loss of the discriminator; compute `fake` from a detached volume."""
        return self._factor * (((real - 1) ** 2).mean() + (fake**2).mean())

    @property
    def _factor(self) -> float:
        return 0.5 if self.half else 1.0


def _view(name: str, pixels: int) -> ViewGeometry:
    """A fixed view about the origin; lengths in half widths of the volume, not in mm."""
    shape, spacing = (pixels, pixels), (DETECTOR_WIDTH / pixels,) * 2
    if name != "AXIAL":
        return ViewGeometry.preset(
            name,
            source_to_detector_mm=SOURCE_TO_CENTER + CENTER_TO_DETECTOR,
            source_to_isocenter_mm=SOURCE_TO_CENTER,
            shape=shape,
            pixel_spacing=spacing,
        )
    # seen from below: rows towards posterior, columns towards the patient's right
    return ViewGeometry(
        source=(0.0, 0.0, -SOURCE_TO_CENTER),
        detector_center=(0.0, 0.0, CENTER_TO_DETECTOR),
        row_direction=(0.0, 1.0, 0.0),
        column_direction=(-1.0, 0.0, 0.0),
        shape=shape,
        pixel_spacing=spacing,
    )


def _normal(rng: np.random.Generator | torch.Generator, count: int) -> np.ndarray:
    if isinstance(rng, torch.Generator):
        return torch.randn(count, generator=rng, device=rng.device, dtype=torch.float64).cpu().numpy()
    return rng.standard_normal(count)


def _require_same_shape(prediction: torch.Tensor, target: torch.Tensor) -> None:
    if prediction.shape != target.shape:
        raise InputError(
            f"expected a prediction of the target's shape {tuple(target.shape)}, "
            f"got {tuple(prediction.shape)}"
        )
