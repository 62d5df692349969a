"""Pictures to learn the views from: DRRs of the training subjects, rendered once, and foreign pictures.

Every subject is deformed several times; each time a frontal and a lateral view are projected in a random
pose, and what is no frontal or lateral view of a chest besides: an oblique view, a slice, a projection along
the body, a small part. Pictures that come from no CT are drawn anew for every sample (`foreign_pattern`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from xrecon.nets.view_classifier import KINDS
from xrecon.physics.attenuation import hu_to_attenuation
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.poses import turned, view_from_positioner_angles
from xrecon.physics.projector import Projector
from xrecon.preprocess.ct import AIR_HU
from xrecon.preprocess.radiograph import canonical_axes
from xrecon.training.augment import augment_ct
from xrecon.training.config import TrainConfig
from xrecon.training.prepared import PreparedSubjects

DEFORMATIONS, PIXELS, PIXEL_MM = 14, 160, 3.0
# Stands and beds; what a view's name promises is kept to this many degrees (standard deviation).
SOURCE_TO_DETECTOR_MM, ISOCENTER_TO_DETECTOR_MM, POSE_DEG, SHIFT_MM = (
    (1000.0, 2000.0),
    (150.0, 350.0),
    4.0,
    15.0,
)
OBLIQUE_DEG = (35.0, 55.0)
ENERGY_KEV = (55.0, 80.0)
_OTHER_SIDE = {"frontal": ("PA", "AP"), "lateral": ("LEFT LATERAL", "RIGHT LATERAL")}
BANK = 7  # first word of the seeds, beside those of `training.order`


@dataclass(frozen=True)
class Entry:
    """One picture (row, column), line integrals or HU above air, upright; kind "frontal", "lateral" or
    "neither"; subject: index in its split."""

    picture: np.ndarray
    kind: str
    subject: int


def render_bank(
    prepared: PreparedSubjects, config: TrainConfig, deformations: int = DEFORMATIONS, pixels: int = PIXELS
) -> list[Entry]:
    """The pictures of all subjects of a split; a function of the seed alone."""
    entries = []
    for subject in range(len(prepared)):
        hu = torch.as_tensor(prepared[subject].variants[0][0].astype(np.float32))
        for number in range(deformations):
            rng = np.random.default_rng([config.seed, BANK, subject, number])
            entries += _entries(hu, subject, config, pixels, rng)
    return entries


def _entries(
    hu: torch.Tensor, subject: int, config: TrainConfig, pixels: int, rng: np.random.Generator
) -> list[Entry]:
    spacing = config.grid.source_spacing_mm
    moved, _ = augment_ct(hu, spacing, config.augmentation, rng)
    if rng.random() < 0.6:
        moved = lengthened(moved)
    attenuation = hu_to_attenuation(moved, float(rng.uniform(*ENERGY_KEV)))[None, None]
    entries = []
    for kind in KINDS:
        view = random_view(_OTHER_SIDE[kind][int(rng.integers(2))], pixels, rng)
        entries.append(Entry(projected(attenuation, view, spacing), kind, subject))
    sign = 1.0 if rng.random() < 0.5 else -1.0
    view = random_view("", pixels, rng, sign * float(rng.uniform(*OBLIQUE_DEG)))
    entries.append(Entry(projected(attenuation, view, spacing), "neither", subject))
    entries.append(Entry(no_view(moved, rng), "neither", subject))
    return entries


def random_view(name: str, pixels: int, rng: np.random.Generator, primary_deg: float = 0.0) -> ViewGeometry:
    """A preset, or a view at a primary angle, as it may be taken; laid out upright."""
    to_detector = float(rng.uniform(*SOURCE_TO_DETECTOR_MM))
    options = {
        "source_to_detector_mm": to_detector,
        "source_to_isocenter_mm": to_detector - float(rng.uniform(*ISOCENTER_TO_DETECTOR_MM)),
        "shape": (pixels, pixels),
        "pixel_spacing": (PIXEL_MM * PIXELS / pixels,) * 2,
    }
    if name:
        view = ViewGeometry.preset(name, **options)
    else:
        view = view_from_positioner_angles(primary_deg, **options)
    view = turned(view, tuple(rng.normal(0.0, POSE_DEG, 3)))
    view = view.moved(np.eye(3), rng.normal(0.0, SHIFT_MM, 3))
    return replace(view, **canonical_axes(view))


def projected(attenuation: torch.Tensor, view: ViewGeometry, spacing_mm: float) -> np.ndarray:
    shape = tuple(attenuation.shape[2:])
    with torch.no_grad():
        return Projector([view], shape, (spacing_mm,) * 3, presum=2)(attenuation)[0, 0].numpy()


def lengthened(hu: torch.Tensor) -> torch.Tensor:
    """The cube with its first and last slices of the body repeated to the ends: scans stop at the lungs,
    radiographs do not."""
    body = torch.nonzero((hu > -500.0).float().mean(dim=(1, 2)) > 0.05)[:, 0]
    if body.numel() < 8:
        return hu
    first, last = int(body[0]) + 2, int(body[-1]) - 2
    longer = hu.clone()
    longer[:first], longer[last + 1 :] = hu[first], hu[last]
    return longer


def no_view(hu: torch.Tensor, rng: np.random.Generator) -> np.ndarray:
    """A slice, a projection along the body, or one of its lowest part."""
    above_air = hu - AIR_HU
    choice = int(rng.integers(5))
    if choice == 0:
        return above_air.sum(dim=0).numpy()
    if choice == 1:  # the abdomen, as far as the scan holds it
        return above_air[: max(8, hu.shape[0] // 4)].sum(dim=1).flip(0).numpy()
    axis = int(rng.integers(3))
    middle = hu.shape[axis] // 2 + int(rng.integers(-hu.shape[axis] // 5, hu.shape[axis] // 5))
    picture = above_air.select(axis, middle)
    return (picture if axis == 0 else picture.flip(0)).numpy()


# -- pictures from no CT -------------------------------------------------------------------------
def foreign_pattern(side: int, rng: np.random.Generator) -> np.ndarray:
    """A picture (side, side) of something else: noise of any colour, gratings, patches, shapes, text."""
    kind = int(rng.integers(6))
    if kind == 0:
        return coloured_noise(side, float(rng.uniform(0.0, 3.0)), rng)
    if kind == 1:
        return _grating(side, rng)
    if kind == 2:
        return _patches(side, rng)
    if kind == 3:
        return _shapes(side, rng)
    if kind == 4:
        return _text(side, rng)
    weight = float(rng.uniform(0.2, 0.8))
    return weight * _patches(side, rng) + (1.0 - weight) * coloured_noise(side, float(rng.uniform(0, 2)), rng)


def coloured_noise(side: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Noise with a power spectrum that falls as frequency to `exponent` (photographs: about 2), in [0, 1]."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = frequency[0, 1]
    spectrum = np.fft.rfft2(rng.normal(size=(side, side))) / frequency ** (exponent / 2.0)
    noise = np.fft.irfft2(spectrum, s=(side, side))
    return (noise - noise.min()) / max(float(np.ptp(noise)), 1e-12)


def _axes(side: int) -> tuple[np.ndarray, np.ndarray]:
    return np.mgrid[:side, :side] / side


def _grating(side: int, rng: np.random.Generator) -> np.ndarray:
    y, x = _axes(side)
    total = np.zeros((side, side))
    for _ in range(int(rng.integers(1, 4))):
        angle, count = rng.uniform(0, np.pi), rng.uniform(0.5, 20.0)
        wave = np.sin(2 * np.pi * count * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 6.28))
        total += np.sign(wave) if rng.random() < 0.3 else wave
    return total


def _patches(side: int, rng: np.random.Generator) -> np.ndarray:
    """Patches of one grey value each, with shading: the statistics of scenes."""
    y, x = _axes(side)
    centers = rng.uniform(size=(int(rng.integers(3, 40)), 2))
    nearest = np.argmin((y[..., None] - centers[:, 0]) ** 2 + (x[..., None] - centers[:, 1]) ** 2, axis=-1)
    slope = rng.normal(0.0, 0.5, 2)
    return rng.uniform(size=len(centers))[nearest] + slope[0] * y + slope[1] * x


def _shapes(side: int, rng: np.random.Generator) -> np.ndarray:
    """Discs and boxes before a ground, some in pairs side by side as lungs are."""
    y, x = _axes(side)
    picture = np.full((side, side), rng.uniform()) + rng.normal(0, 0.3) * y
    for _ in range(int(rng.integers(1, 8))):
        (cy, cx), (ry, rx) = rng.uniform(size=2), rng.uniform(0.04, 0.4, 2)
        inside = np.hypot((y - cy) / ry, (x - cx) / rx) < 1.0
        if rng.random() < 0.4:
            inside = (abs(y - cy) < ry) & (abs(x - cx) < rx)
        picture[inside | (inside[:, ::-1] & (rng.random() < 0.3))] += rng.normal(0.0, 0.5)
    return picture


def _text(side: int, rng: np.random.Generator) -> np.ndarray:
    """Lines of small marks, as a page, a form or a screen shot."""
    page = np.ones((side, side))
    height = int(rng.integers(2, 7))
    for top in range(int(rng.integers(height)), side - height, 2 * height):
        marks = rng.random(side // 2 + 1) < 0.55
        page[top : top + height, :side] = np.where(np.repeat(marks, 2)[:side], 0.0, 1.0)
    return page if rng.random() < 0.5 else 1.0 - page


def kinds_of(entries: Sequence[Entry]) -> dict[str, list[int]]:
    """Indices of the entries by kind."""
    return {kind: [i for i, e in enumerate(entries) if e.kind == kind] for kind in (*KINDS, "neither")}
