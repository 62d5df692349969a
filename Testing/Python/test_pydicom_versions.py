"""The branch for pydicom 2.4, which Slicer 5.10 brings, gives what the branch for pydicom 3 gives.

pydicom 3 still has the old names, so both branches run on it. `test_io_*.py` pass as they are
when pydicom 2.4 is installed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_inputs import acquired, drr
from pydicom.uid import ImplicitVRLittleEndian, RLELossless
from xrecon.io import pydicom_versions
from xrecon.io.dicom_pixels import read_dataset, stored_pixels
from xrecon.io.radiograph import read_radiograph
from xrecon.io.radiograph_dicom_writer import write_radiograph_dicom

pytestmark = pytest.mark.skipif(pydicom.__version__[:2] != "3.", reason="only pydicom 3 has both names")


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets the package believe that pydicom 2.4 is installed."""
    monkeypatch.setattr(pydicom_versions, "is_pydicom_3", lambda: False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def test_written_and_read_back(old: None, tmp_path: Path) -> None:
    radiograph = drr()
    write_radiograph_dicom(radiograph, tmp_path / "old.dcm")
    assert pydicom.dcmread(tmp_path / "old.dcm").file_meta.MediaStorageSOPInstanceUID  # a complete header
    read = read_radiograph(tmp_path / "old.dcm")
    np.testing.assert_allclose(read.array, radiograph.array, atol=float(np.ptp(radiograph.array)) / 60000)
    assert np.allclose(read.geometry.matrix, radiograph.geometry.matrix)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_stored_values_without_the_bits_above(
    old: None, tmp_path: Path, compressed: bool, signed: bool
) -> None:
    stored = np.random.default_rng(2).integers(0, 2**16, (31, 37), dtype=np.uint16)  # overlays in bits 12-15
    acquired(tmp_path / "cr.dcm", stored, PixelRepresentation=int(signed))
    dataset = pydicom.dcmread(tmp_path / "cr.dcm")
    if compressed:
        dataset.compress(RLELossless)
    low = (stored & 0xFFF).astype(np.int32)
    expected = np.where(low > 2047, low - 4096, low) if signed else low
    assert np.array_equal(stored_pixels(dataset, "cr.dcm"), expected)


def test_a_modality_lut_and_a_bare_implicit_data_set(old: None, tmp_path: Path) -> None:
    stored = acquired(tmp_path / "cr.dcm", np.arange(31 * 37, dtype=np.uint16).reshape(31, 37) % 8, bits=3)
    dataset = pydicom.dcmread(tmp_path / "cr.dcm")
    lut = pydicom.Dataset()
    lut.add_new("LUTDescriptor", "US", [8, 0, 16])
    lut.add_new("LUTData", "US", [9, 8, 7, 6, 5, 4, 3, 2])
    dataset.ModalityLUTSequence = [lut]
    assert np.array_equal(pydicom_versions.apply_modality_lut(stored, dataset), 9 - stored)
    dataset = pydicom.dcmread(tmp_path / "cr.dcm")
    del dataset.file_meta.TransferSyntaxUID
    pydicom.dcmwrite(tmp_path / "bare.dcm", pydicom.Dataset(dataset), implicit_vr=True, little_endian=True)
    assert read_dataset(tmp_path / "bare.dcm").file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
