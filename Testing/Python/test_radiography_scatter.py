"""Scatter and grid: slabs, published scatter fractions of a chest, contrast that the grid gives back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from radiography_inputs import areal, bare, flat_view
from xrecon.io.image import read_volume
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.materials import split_hu
from xrecon.physics.projector import Projector
from xrecon.physics.radiography import take_radiograph
from xrecon.physics.radiography_settings import RadiographySettings
from xrecon.physics.scatter import grid_transmission, scatter_to_primary, scattered
from xrecon.preprocess.ct import lung_center, remove_table, resample


@pytest.mark.parametrize("exponent", [1.0, 1.3])
def test_a_wide_slab_has_the_ratio_stated(exponent):
    settings = RadiographySettings(scatter_to_primary=3.0, scatter_exponent=exponent)
    for thickness in (50.0, 200.0, 280.0):
        depth = torch.full((30, 40), thickness, dtype=torch.float64)
        primary = torch.full((3, 30, 40), 0.02, dtype=torch.float64)
        ratio = scattered(primary, depth, (8.0, 9.0), settings) / primary
        np.testing.assert_allclose(ratio, 3.0 * (thickness / 200.0) ** exponent, rtol=1e-9)
    assert float(scatter_to_primary(torch.tensor(-1.0), settings)) == 0.0


@pytest.mark.parametrize("grid", [False, True])
def test_scatter_raises_the_signal_of_a_slab_as_the_ratio_says(grid):
    """Relative to the open beam behind the same grid: P (1 + r Ts / Tp)."""
    settings = bare(scatter=True, scatter_to_primary=4.0, grid=grid)
    picture = take_radiograph(areal(20.0), flat_view((64, 48), (5.0, 5.0)), settings)
    primary = take_radiograph(areal(20.0), flat_view((64, 48), (5.0, 5.0)), bare())
    through = 4.0 * settings.grid_scatter_transmission / settings.grid_primary_transmission if grid else 4.0
    np.testing.assert_allclose(primary.array - picture.array, np.log1p(through), rtol=1e-5)
    if grid:
        bucky = (1 + 4.0) / (settings.grid_primary_transmission + 4.0 * settings.grid_scatter_transmission)
        assert float(picture.meta["bucky_factor"]) == pytest.approx(bucky, rel=0.01)
    else:
        assert "grid" not in picture.meta


def test_without_grid_everything_passes():
    assert grid_transmission(RadiographySettings(grid=False)) == (1.0, 1.0)
    primary, scatter = grid_transmission(RadiographySettings())
    assert primary > 4 * scatter


def test_the_grid_gives_contrast_back():
    """A 20 mm ball behind 18 cm of water: scatter takes contrast, the grid returns part of it."""
    y, x = np.ogrid[-32:32, -24:24]
    ball = torch.as_tensor(18.0 + np.where(x**2 + y**2 < 16, 2.0, 0.0))
    contrast = {}
    for name, changes in (
        ("primary", {}), ("scatter", {"scatter": True}), ("grid", {"scatter": True, "grid": True}),
    ):  # fmt: skip
        array = take_radiograph(areal(ball), flat_view((64, 48), (5.0, 5.0)), bare(**changes)).array
        contrast[name] = float(array[32, 24] - array[3, 3])
    assert contrast["scatter"] < 0.35 * contrast["primary"]
    assert 1.8 * contrast["scatter"] < contrast["grid"] < 0.9 * contrast["primary"]


@pytest.mark.parametrize("subject", ["lidc_0001", "lidc_0003"])
def test_scatter_fractions_of_a_chest_are_those_measured(subject: str, data_dir: Path):
    """Niklason et al. 1981: about 90 % in the mediastinum without grid; with a grid of ratio 12 less than
    half of the primary contrast is left there. In the lungs about half of the signal is scatter."""
    ct = read_volume(data_dir / f"{subject}.nii.gz")
    ct = remove_table(resample(ct, (80, 80, 110), (4.0, 4.0, 4.0), ct.center))
    view = ViewGeometry.pa(shape=(86, 86), isocenter=tuple(lung_center(ct)))
    densities = torch.stack(split_hu(torch.as_tensor(ct.array.astype(np.float32))))[:, None]
    amount = Projector.of_volume([view], ct)(densities)[:, 0].double() / 10.0
    primary = bare()
    signal = {
        grid: np.exp(-take_radiograph(amount, view, primary.changed(scatter=True, grid=grid)).array)
        for grid in (False, True)
    }
    alone = np.exp(-take_radiograph(amount, view, primary).array)
    fraction = {grid: 1.0 - alone / signal[grid] for grid in signal}
    thickness = 10.0 * amount.sum(dim=0).numpy()
    lungs, mediastinum = (thickness > 60) & (thickness < 130), thickness > 200
    assert min(lungs.sum(), mediastinum.sum()) > 200
    assert 0.83 < fraction[False][mediastinum].mean() < 0.94
    assert 0.5 < fraction[True][mediastinum].mean() < 0.75
    assert 0.4 < fraction[False][lungs].mean() < 0.7
    assert fraction[True][lungs].mean() < 0.35
