"""Fixtures shared by the tests of the Python backend."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from radiograph_inputs import SHAPE, geometries
from rotations import rotation_matrix
from xrecon.physics.geometry import VIEWS
from xrecon.volume import Quantity, Radiograph, Volume

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the openly licensed real images: $XRECON_DATA, else `../shared/data` beside the checkout."""
    named = os.environ.get("XRECON_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real images: no folder {folder} (set XRECON_DATA)")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A random generator with a fixed seed."""
    return np.random.default_rng(20240607)


@pytest.fixture
def oblique_volume(rng: np.random.Generator) -> Volume:
    """int16 HU on an oblique, anisotropic grid with odd sizes (9, 11, 13); no axis is like another."""
    return Volume(
        array=rng.integers(-1024, 3071, size=(9, 11, 13), dtype=np.int16),
        spacing=(2.5, 0.703125, 1.3),
        origin=(-123.4375, 57.21, 1034.875),
        direction=rotation_matrix((1.0, -2.0, 0.5), 25.0),
        meta={"model": "none", "synthetic": "yes"},
    )


@pytest.fixture
def label_volume(oblique_volume: Volume) -> Volume:
    """uint8 labels 0..4 on the grid of `oblique_volume`, each label a box of its own size."""
    labels = np.zeros(oblique_volume.shape, dtype=np.uint8)
    labels[1:8, 2:9, 1:5] = 1
    labels[1:7, 2:9, 8:12] = 2
    labels[6:8, 2:4, 2:4] = 3
    labels[5:7, 2:5, 9:11] = 4
    return oblique_volume.with_array(labels, quantity="label")


@pytest.fixture(params=list(geometries()))
def drr(request: pytest.FixtureRequest, rng: np.random.Generator) -> Radiograph:
    """Line integrals as a DRR has them, on each of the geometries."""
    return Radiograph(
        rng.gamma(2.0, 1.3, SHAPE).astype(np.float32),
        geometries()[request.param],
        Quantity.LINE_INTEGRAL,
        request.param if request.param in VIEWS else "",
        history=("computed from a CT",),
        meta={"synthetic": "yes", "energy_kev": "70"},
    )


@pytest.fixture
def grey(rng: np.random.Generator) -> np.ndarray:
    """A picture of eight bits without a grey value at either end."""
    return rng.integers(3, 250, SHAPE, dtype=np.uint8)
