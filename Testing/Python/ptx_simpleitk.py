"""Algorithm 1 as a plain composition of SimpleITK filters: what the tests and the benchmark compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import numpy as np
import SimpleITK as sitk
from xrecon.pneumothorax.morphology import ball_radius
from xrecon.pneumothorax.parameters import PtxParameters

TIE_MM2 = 1e-3
Say = Callable[[str, float], None]


def simpleitk_ptx_seg(
    hu: np.ndarray,
    lungs: np.ndarray,
    spacing: tuple[float, float, float],
    p: PtxParameters,
    say: Say = lambda step, seconds: None,
) -> np.ndarray:
    """Labels 1 to 4 (uint8) of arrays (z, y, x) along LPS; lungs 1 right, 2 left; spacing in mm (z, y, x).

    Seeds at two corners, `stay_inside` and `smooth_mm` as the paper has them. say: told every step.
    """

    @contextmanager
    def step(name: str) -> Iterator[None]:
        start = perf_counter()
        yield
        say(name, perf_counter() - start)

    def closed(mask: sitk.Image, radius_mm: float) -> sitk.Image:
        radius = ball_radius(radius_mm, spacing)[::-1]
        if not any(radius):
            return mask
        return sitk.BinaryMorphologicalClosing(mask, radius, sitk.sitkBall, 1.0, True)

    with step("images"):
        image, given = (_image(a, spacing) for a in (hu, lungs))
    with step("close lungs"):
        m_l = closed(given > 0, p.k_l)
    with step("close body"):
        m_bc = closed(image >= p.t_b, p.k_b)
    with step("flood outside"):
        corners = [(0, 0, 0), tuple(n - 1 for n in image.GetSize())]
        pattern = sitk.ConnectedThresholdImageFilter
        connectivity = pattern.FaceConnectivity if p.connectivity == 6 else pattern.FullConnectivity
        m_b = sitk.Not(sitk.ConnectedThreshold(m_bc, corners, 0, 0, 1, connectivity))
    with step("air"):
        m_pc = sitk.And(sitk.And(m_l, m_b), image < p.t_p)
        pieces = sitk.ConnectedComponent(closed(m_pc, p.k_p), True)
        voxel_ml = float(np.prod(spacing)) / 1000.0
        enough = int(p.v_t / voxel_ml)
        while enough * voxel_ml <= p.v_t:
            enough += 1
        m_p = sitk.RelabelComponent(pieces, enough) > 0
    with step("sides"):
        both = sitk.Or(m_l, m_p)
        right, left = (
            sitk.SignedMaurerDistanceMap(given == label, False, True, True) for label in (1, 2)
        )
        # at equal distance right wins; the two maps round equal distances differently
        side = sitk.Cast(right - left > TIE_MM2, sitk.sitkUInt8) + 1
        side = sitk.Mask(side, sitk.Equal(given, 0)) + given
        side = sitk.Mask(side, both)
        # a connected piece of air is on one side, unless each side has a quarter of it
        whole = sitk.ConnectedComponent(m_p, True)
        shares = sitk.LabelIntensityStatisticsImageFilter()
        shares.Execute(whole, side)
        for piece in shares.GetLabels():
            left = shares.GetMean(piece) - 1.0
            if left < 0.25 or left > 0.75:
                here = sitk.Equal(whole, piece)
                side = sitk.Mask(side, sitk.Not(here)) + here * (2 if left > 0.5 else 1)
        return sitk.GetArrayFromImage(side + 2 * m_p)


def _image(array: np.ndarray, spacing: tuple[float, float, float]) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(s) for s in spacing[::-1]])
    return image
