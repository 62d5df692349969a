"""Blur and noise of a CT: measured where they are known, made with the grain that is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from ptx_chest import Grid, chest
from scipy import ndimage
from xrecon.pneumothorax.scanner import (
    Grain,
    add_noise,
    apply_kernel,
    make_noise,
    measure_blur,
    measure_grain,
)
from xrecon.volume import InputError, Volume

# Every second voxel of it is kept, so that edges lie anywhere between voxels.
FINE = Grid((110, 122, 172), (2.2, 2.2, 2.2))


@pytest.mark.parametrize("sigma", [(0.5, 0.5, 0.5), (1.2, 0.7, 0.9)])
def test_the_blur_of_a_lung_edge_is_found(sigma):
    hu, lungs, _ = chest(FINE)
    every_second = (slice(None, None, 2),) * 3
    blurred = ndimage.gaussian_filter(hu.array, 2.0 * np.array(sigma))[every_second]
    lung = (lungs.array == 1)[every_second]
    found = np.array(measure_blur(blurred, lung, (4.4, 4.4, 4.4))) / 4.4
    np.testing.assert_allclose(found, sigma, rtol=0.2)
    assert measure_blur(hu.array[every_second], lung, (4.4, 4.4, 4.4)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("correlation", [(0.0, 0.0, 0.0), (0.9, 0.5, 0.7)])
def test_the_grain_of_noise_is_found(correlation):
    noise = make_noise(Grain(12.0, correlation), (40, 50, 60), np.random.default_rng(0))
    assert noise.std() == pytest.approx(12.0, rel=0.01)
    found = measure_grain(40.0 + noise)
    assert found.noise_hu == pytest.approx(12.0, rel=0.1)
    np.testing.assert_allclose(found.correlation, correlation, atol=0.12)
    assert measure_grain(np.full((9, 9, 9), 40.0)).noise_hu == 0.0


def lag(array, axis):
    ahead, behind = np.delete(array, 0, axis), np.delete(array, -1, axis)
    return float((ahead * behind).mean() / array.var())


def test_noise_has_its_size_and_its_kernel():
    flat = Volume(np.zeros((20, 64, 64), np.float32), (2.5, 0.8, 0.8))
    grain = {}
    for kernel in ("soft", "sharp"):
        noise = add_noise(flat, 30.0, kernel, seed=1).array
        assert noise.std() == pytest.approx(30.0, rel=0.02) and abs(noise.mean()) < 1.0
        grain[kernel] = lag(noise, 2)
        assert abs(lag(noise, 0)) < 0.1
    assert grain["soft"] > 0.5 > 0.2 > grain["sharp"]
    np.testing.assert_array_equal(add_noise(flat, 30.0, seed=1).array, add_noise(flat, 30.0, seed=1).array)
    assert add_noise(flat, 0.0) is flat


def test_kernels_soften_and_sharpen_edges_in_the_slice():
    step = np.zeros((5, 20, 30), np.float32)
    step[:, :, 15:] = 100.0
    volume = Volume(step, (3.0, 1.0, 1.0))
    soft, sharp = apply_kernel(volume, "soft").array, apply_kernel(volume, "sharp").array
    assert soft[2, 10, 15] < 80.0 and soft.max() <= 100.0 + 1e-3
    assert sharp.max() > 105.0 and sharp.min() < -5.0
    np.testing.assert_allclose(soft[:, :, [0, -1]], step[:, :, [0, -1]], atol=1e-3)
    across = Volume(np.moveaxis(step, 2, 0), (1.0, 3.0, 1.0))
    np.testing.assert_allclose(apply_kernel(across, "soft").array, across.array, atol=1e-3)


def test_wrong_options_are_refused():
    volume = Volume(np.zeros((4, 4, 4), np.float32), (1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="kernel"):
        add_noise(volume, 10.0, "medium")
    with pytest.raises(InputError, match="noise"):
        add_noise(volume, -1.0)
    with pytest.raises(InputError, match="kernel"):
        apply_kernel(volume, "")
