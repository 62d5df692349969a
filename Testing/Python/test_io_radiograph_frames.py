"""One picture out of a file of several: frames of DICOM, pages of TIFF, slices of a stack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_inputs import acquired, item, ramp
from pydicom.uid import RLELossless
from xrecon.io.radiograph import read_radiograph
from xrecon.volume import InputError


# -- frames ------------------------------------------------------------------------------------
@pytest.mark.parametrize("compressed", [False, True])
def test_a_chosen_frame(tmp_path: Path, compressed: bool) -> None:
    frames = np.stack([ramp(), ramp()[::-1], ramp()[:, ::-1]])
    acquired(tmp_path / "a.dcm", ramp(), Modality="XA", NumberOfFrames=3, PixelData=frames.tobytes())
    if compressed:
        dataset = pydicom.dcmread(tmp_path / "a.dcm")
        dataset.compress(RLELossless)
        dataset.save_as(tmp_path / "a.dcm")
    for number, expected in enumerate(frames, start=1):
        read = read_radiograph(tmp_path / "a.dcm", frame=number)
        assert np.array_equal(read.array, expected)
        assert read.meta["frame"] == str(number) and f"frame {number} of 3" in read.history[0]
    with pytest.raises(InputError, match=r"a.dcm has 3 frames: choose one, from 1 to 3"):
        read_radiograph(tmp_path / "a.dcm")
    for wrong in (0, 4, -1):
        with pytest.raises(InputError, match=f"got {wrong}: .*a.dcm has the frames 1 to 3"):
            read_radiograph(tmp_path / "a.dcm", frame=wrong)


def test_angles_of_a_moving_c_arm_are_those_of_its_first_frame(tmp_path: Path) -> None:
    tags = {"Modality": "XA", "NumberOfFrames": 2, "PixelData": 2 * ramp().tobytes()}
    moved = {"PositionerMotion": "DYNAMIC", "PositionerPrimaryAngleIncrement": [0, 2]}
    acquired(tmp_path / "a.dcm", ramp(), PositionerPrimaryAngle=30, **tags, **moved)
    assert read_radiograph(tmp_path / "a.dcm", frame=1).geometry.positioner_angles == pytest.approx((30, 0))
    second = read_radiograph(tmp_path / "a.dcm", frame=2)
    assert second.geometry is None
    assert "angles in frame 2 are not known" in " ".join(second.history)


def test_functional_groups_of_an_enhanced_object(tmp_path: Path) -> None:
    shared = item(
        FrameAcquisitionSequence=[],
        XRayGeometrySequence=[item(DistanceSourceToDetector=1100, DistanceSourceToIsocenter=780)],
    )
    own = [
        item(
            PositionerPositionSequence=[item(PositionerPrimaryAngle=angle, PositionerSecondaryAngle=5)],
            PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=0)],
        )
        for angle, slope in ((0, 1), (-40, 2))
    ]
    acquired(
        tmp_path / "a.dcm", ramp(), Modality="XA", NumberOfFrames=2, PixelData=2 * ramp().tobytes(),
        ImagerPixelSpacing=[9, 10], PositionerMotion="DYNAMIC",
        SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=own,
    )  # fmt: skip
    read = read_radiograph(tmp_path / "a.dcm", frame=2)
    assert np.array_equal(read.array, 2.0 * ramp())
    assert read.geometry.positioner_angles == pytest.approx((-40, 5))
    assert read.geometry.source_to_isocenter_mm == pytest.approx(780)
    assert "isocenter.origin" not in read.meta  # a C-arm turns about it
    assert read.geometry.pixel_spacing == pytest.approx((9, 10))
    assert read.meta["source_to_isocenter_mm.tag"] == "DistanceSourceToIsocenter"


def test_both_views_out_of_one_file(tmp_path: Path) -> None:
    """A PA and a lateral as two frames of a secondary capture: the command line takes one each."""
    from xrecon.commands import RadiographOptions, read_views

    frames = np.stack([ramp(), ramp()[::-1]])
    path = tmp_path / "a.dcm"
    acquired(path, ramp(), Modality="OT", NumberOfFrames=2, PixelData=frames.tobytes())
    views = read_views(path, path, RadiographOptions(frame_pa=1, frame_lateral=2))
    assert [view.view for view in views] == ["PA", "LEFT LATERAL"]
    assert all(np.array_equal(view.array, frame) for view, frame in zip(views, frames, strict=True))
    with pytest.raises(InputError, match="two different radiographs"):
        read_views(path, path, RadiographOptions(frame_pa=2, frame_lateral=2))


# -- pictures with a sidecar -------------------------------------------------------------------
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_a_picture_that_lies_upside_down(tmp_path: Path, suffix: str) -> None:
    """NIfTI writers often store the lowest row first; the sidecar tells how the picture lies."""
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(ramp()[::-1].astype(np.float32)), str(tmp_path / f"a{suffix}"))
    (tmp_path / "a.json").write_text('{"view": "PA", "patient_orientation": ["L", "H"]}')
    read = read_radiograph(tmp_path / f"a{suffix}")
    assert np.array_equal(read.array, ramp()) and "upside down" in " ".join(read.history)
    (tmp_path / "a.json").write_text('{"view": "PA", "patient_orientation": "LF"}')
    with pytest.raises(InputError, match="patient_orientation as two letters"):
        read_radiograph(tmp_path / f"a{suffix}")


def test_a_page_and_a_slice_are_chosen(tmp_path: Path) -> None:
    import SimpleITK as sitk
    from PIL import Image

    stack = np.stack([ramp(), ramp()[::-1]])
    pages = [Image.fromarray(page) for page in stack]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    sitk.WriteImage(sitk.GetImageFromArray(stack), str(tmp_path / "a.nrrd"))
    for name in ("a.tif", "a.nrrd"):
        assert np.array_equal(read_radiograph(tmp_path / name, frame=2).array, stack[1])
        with pytest.raises(InputError, match="from 1 to 2"):
            read_radiograph(tmp_path / name)
        with pytest.raises(InputError, match="got 3: "):
            read_radiograph(tmp_path / name, frame=3)
