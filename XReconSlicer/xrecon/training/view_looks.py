"""What a radiograph may have gone through: field, grey scale, noise, shutters, markers, devices.

Far stronger than what a reconstruction network is trained with, since a classifier must not mind any of it.
Functions take and give pictures (row, column) and draw from the generator they are given.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from xrecon.preprocess.standard_picture import SIDE, to_unit

# Share of the rendered side that is left, and how much wider one side may be than the other.
FIELD, ASPECT, ROLL_DEG, OFF_CENTER = (0.62, 1.0), 1.25, 7.0, 0.12
# A part this small is no view of a chest any more.
PART = (0.15, 0.33)
GAMMA, SCATTER = 0.8, 0.35


def seen(
    picture: np.ndarray, rng: np.random.Generator, *, part: bool = False, side: int = SIDE
) -> np.ndarray:
    """Line integrals (or any grey values, bright = dense) as a radiograph of them may look, in [0, 1].

    part: only a small part of the field.
    """
    picture = _field(picture, rng, part, side)
    picture = to_unit(picture)
    picture = _grey_scale(picture, rng)
    if rng.random() < 0.5:
        picture = ndimage.gaussian_filter(picture, rng.uniform(0.0, 1.2))
    if rng.random() < 0.7:
        picture = picture + _noise(picture, rng)
    if rng.random() < 0.35:
        picture = _with_devices(picture, rng)
    if rng.random() < 0.4:
        picture = _with_marker(picture, rng)
    if rng.random() < 0.35:
        picture = _with_shutters(picture, rng)
    return to_unit(picture)


def _field(picture: np.ndarray, rng: np.random.Generator, part: bool, side: int) -> np.ndarray:
    share = rng.uniform(*(PART if part else FIELD))
    stretch = np.exp(rng.uniform(-0.5, 0.5) * np.log(ASPECT))
    free = (1.0 - share) if part else min(1.0 - share + 0.05, OFF_CENTER)
    angle = np.radians(rng.normal(0.0, ROLL_DEG))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    theta = np.column_stack([turn * share * np.array([stretch, 1.0 / stretch]), rng.uniform(-1, 1, 2) * free])
    image = torch.as_tensor(np.ascontiguousarray(picture, dtype=np.float32))[None, None]
    grid = functional.affine_grid(
        torch.as_tensor(theta, dtype=torch.float32)[None], (1, 1, side, side), False
    )
    return functional.grid_sample(image, grid, padding_mode="border", align_corners=False)[0, 0].numpy()


def _grey_scale(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """From line integrals to what processing makes of them."""
    if rng.random() < SCATTER:  # a veil that grows with the thickness around
        veil = ndimage.gaussian_filter(picture, picture.shape[0] / 6.0)
        picture = picture - rng.uniform(0.0, 0.5) * veil
    if rng.random() < 0.5:  # dynamic range compression, as multi-frequency processing does
        slow = ndimage.gaussian_filter(picture, rng.uniform(0.04, 0.2) * picture.shape[0])
        picture = picture - rng.uniform(0.0, 0.7) * slow
    if rng.random() < 0.4:  # edge enhancement
        picture = picture + rng.uniform(0.0, 1.0) * (picture - ndimage.gaussian_filter(picture, 1.5))
    picture = np.clip(to_unit(picture), 0.0, 1.0)
    curve = rng.random()
    if curve < 0.5:
        return picture ** np.exp(rng.uniform(-GAMMA, GAMMA))
    if curve < 0.75:  # the S of a film
        middle, slope = rng.uniform(0.3, 0.7), rng.uniform(3.0, 10.0)
        return 1.0 / (1.0 + np.exp(-slope * (picture - middle)))
    if curve < 0.85:  # equalised
        ranks = np.searchsorted(np.sort(picture.ravel()), picture.ravel()) / picture.size
        return 0.5 * picture + 0.5 * ranks.reshape(picture.shape)
    return picture


def _noise(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(0.0, 1.0, picture.shape)
    if rng.random() < 0.4:
        noise = ndimage.gaussian_filter(noise, rng.uniform(0.4, 1.5))
        noise /= noise.std()
    return noise * rng.uniform(0.0, 0.06) * (0.5 + picture)


def _with_shutters(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Borders of one grey value, with a little noise, so that they are not cut off as constant."""
    framed, n = picture.copy(), picture.shape[0]
    value = rng.choice([0.0, 1.0, rng.uniform()])
    for where in (np.s_[: _width(n, rng)], np.s_[n - _width(n, rng) :]):
        for index in (where, (slice(None), where)):
            if rng.random() < 0.5:
                framed[index] = value + rng.normal(0.0, 0.01, framed[index].shape)
    return framed


def _width(n: int, rng: np.random.Generator) -> int:
    return int(rng.integers(1, max(2, n // 9)))


def _with_marker(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One or two lead letters or burnt-in words near a corner."""
    marked, n = picture.copy(), picture.shape[0]
    for _ in range(int(rng.integers(1, 3))):
        height, width = int(rng.integers(n // 32, n // 12)), int(rng.integers(n // 24, n // 5))
        glyph = ndimage.zoom((rng.random((5, 5)) < 0.6).astype(float), (height / 5, width / 5), order=0) > 0.5
        top = int(rng.choice([0, n - n // 4 - height])) + int(rng.integers(n // 4))
        left = int(rng.choice([0, n - n // 4 - width])) + int(rng.integers(n // 4))
        top, left = max(0, min(top, n - glyph.shape[0])), max(0, min(left, n - glyph.shape[1]))
        marked[top : top + glyph.shape[0], left : left + glyph.shape[1]][glyph] = (
            1.0 if rng.random() < 0.8 else 0.0
        )
    return marked


def _with_devices(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A bright pacemaker, wires, or an opaque or aerated zone."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]] / picture.shape[0]
    result = picture.copy()
    kind = int(rng.integers(3))
    cy, cx = rng.uniform(0.2, 0.8, 2)
    if kind == 0:
        result[np.hypot((y - cy), (x - cx)) < rng.uniform(0.02, 0.06)] = 1.0
    elif kind == 1:
        for _ in range(int(rng.integers(1, 4))):
            wave = cy + rng.normal(0, 0.2) + rng.normal(0, 0.4) * x + 0.1 * np.sin(rng.uniform(2, 9) * x)
            result[abs(y - wave) < 0.006] = rng.uniform(0.7, 1.0)
    else:
        # up to a lung that is opaque on the whole
        zone = np.exp(-(((y - cy) / rng.uniform(0.05, 0.3)) ** 2) - ((x - cx) / rng.uniform(0.05, 0.3)) ** 2)
        result = result + zone * rng.uniform(-0.3, 0.6)
    return result
