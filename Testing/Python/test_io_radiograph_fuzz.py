"""Whatever is in a DICOM file: a radiograph that can be used, or one clear sentence.

XRECON_FUZZ_CASES=2000 runs as many cases as it says; 150 by default.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="needs hypothesis (requirements-dev.lock)")
from dicom_fuzz import arguments, radiograph_files
from hypothesis import HealthCheck, event, given, settings
from xrecon.io.radiograph import read_radiograph
from xrecon.physics.geometry import VIEWS
from xrecon.volume import InputError, Quantity

CASES = int(os.environ.get("XRECON_FUZZ_CASES", "150"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "radiograph.dcm"


@pytest.mark.timeout(600 + CASES)
@settings(
    max_examples=CASES, deadline=None, database=None, derandomize=CASES <= 150,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(data=radiograph_files(), options=arguments())
def test_no_file_is_a_crash(path: Path, data: bytes, options: dict[str, Any]) -> None:
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about values that are not allowed
        try:
            radiograph = read_radiograph(path, **options)
        except InputError as error:
            event("refused: " + " ".join(str(error).split()[:3]))
            assert str(error).isprintable() and len(str(error)) > 20
            return
    event("read")
    assert radiograph.array.dtype == np.float32 and np.isfinite(radiograph.array).all()
    assert radiograph.array.min() < radiograph.array.max()
    assert radiograph.view in ("", *VIEWS)
    assert radiograph.quantity in (Quantity.DISPLAY, Quantity.LINE_INTEGRAL, Quantity.LOG_SIGNAL)
    assert sum("inverted to bright" in note for note in radiograph.history) <= 1
    geometry = radiograph.geometry
    if geometry is not None:
        assert geometry.shape == radiograph.array.shape
        assert np.isfinite(geometry.matrix).all()
        for name in ("source_to_detector_mm", "source_to_isocenter_mm", "pixel_spacing_mm"):
            assert radiograph.meta[f"{name}.origin"] in ("argument", "DICOM", "assumed")
