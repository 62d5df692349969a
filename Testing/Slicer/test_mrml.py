"""MRML nodes and `xrecon`'s values: nothing may move, flip or change on the way there and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from mrml_inputs import obliqueVolume, rotation
from xrecon.io.radiograph import read_radiograph, write_radiograph
from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import InputError, Quantity, Radiograph, Volume
from XReconSlicerLib.intake import radiographFromNode
from XReconSlicerLib.mrml import radiographToNode, volumeFromNode, volumeToNode
from XReconSlicerLib.node_files import sliceCount

RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def oblique() -> Volume:
    """See `obliqueVolume`."""
    return obliqueVolume()


@pytest.fixture
def picture() -> np.ndarray:
    """A picture without any symmetry, 37 rows and 31 columns."""
    return np.random.default_rng(3).uniform(0.1, 5.0, size=(37, 31)).astype(np.float32)


def ijkToRas(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


# ---- volumes ------------------------------------------------------------------------------------
def test_round_trip_is_exact_to_the_last_bit(oblique: Volume) -> None:
    back = volumeFromNode(volumeToNode(oblique, "CT"))
    assert np.array_equal(back.array, oblique.array) and back.array.dtype == oblique.array.dtype
    assert back.spacing == oblique.spacing
    assert back.origin == oblique.origin
    assert np.array_equal(back.direction, oblique.direction)


def test_the_node_lies_where_the_volume_lies_in_ras(oblique: Volume) -> None:
    node = volumeToNode(oblique, "CT")
    expected = RAS_OF_LPS @ oblique.affine  # the textbook conversion, on its own way
    assert np.allclose(ijkToRas(node), expected, rtol=0, atol=1e-12)


def test_a_point_on_the_patients_left_has_negative_x_in_ras() -> None:
    array = np.zeros((3, 5, 7), np.int16)
    array[1, 2, 6] = 1000  # x index 6: to the patient's left when the direction is the identity
    node = volumeToNode(Volume(array, (1.0, 1.0, 1.0), origin=(-3.0, -2.0, -1.0)), "left")
    ras = ijkToRas(node) @ [6, 2, 1, 1]
    assert ras[:3].tolist() == [-3.0, 0.0, 0.0]
    assert slicer.util.arrayFromVolume(node)[1, 2, 6] == 1000


def test_a_left_handed_node_keeps_its_handedness() -> None:
    node = slicer.util.addVolumeFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    node.SetIJKToRASDirections(-1, 0, 0, 0, 1, 0, 0, 0, 1)
    volume = volumeFromNode(node)
    assert np.linalg.det(volume.direction) == -1.0
    assert np.array_equal(ijkToRas(volumeToNode(volume, "copy")), ijkToRas(node))


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (bool, np.uint8), (np.float16, np.float32), (np.int64, np.int32), (np.uint8, np.uint8),
        (np.float32, np.float32), (np.float64, np.float64), (np.int32, np.int32), (np.uint16, np.uint16),
    ],
)  # fmt: skip
def test_every_type_gets_into_a_node_with_its_numbers(given: type, stored: type) -> None:
    array = (np.arange(60).reshape(3, 4, 5) % 2).astype(given)
    node = volumeToNode(Volume(array, (1.0, 2.0, 3.0), quantity=Quantity.LABEL), "any")
    found = slicer.util.arrayFromVolume(node)
    assert found.dtype == stored
    assert np.array_equal(found, array.astype(stored))


def test_integers_that_no_node_can_hold_are_refused() -> None:
    volume = Volume(np.full((2, 2, 2), 2**40), (1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="32-bit"):
        volumeToNode(volume, "big")


def test_the_volume_is_a_copy(oblique: Volume) -> None:
    node = volumeToNode(oblique, "CT")
    volume = volumeFromNode(node)
    slicer.util.arrayFromVolume(node)[:] = 0
    assert np.array_equal(volume.array, oblique.array)


def test_an_existing_node_is_overwritten_and_keeps_its_name(oblique: Volume) -> None:
    node = volumeToNode(Volume(np.zeros((2, 2, 2), np.float32), (1.0, 1.0, 1.0)), "mine")
    assert volumeToNode(oblique, node=node) is node
    assert node.GetName() == "mine"
    assert np.array_equal(slicer.util.arrayFromVolume(node), oblique.array)


def test_hounsfield_units_and_provenance_are_told_in_the_node(oblique: Volume) -> None:
    node = volumeToNode(oblique, "CT")
    assert node.GetVoxelValueUnits().GetCodeMeaning() == "Hounsfield unit"
    assert node.GetVoxelValueQuantity().GetCodeValue() == "112031"
    assert node.GetAttribute("XRecon.model") == "none"


def test_a_node_under_a_linear_transform_is_taken_where_it_is_shown(oblique: Volume) -> None:
    node = volumeToNode(oblique, "CT")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation((0.3, 1.0, 2.0), 40.0), (10.0, -20.0, 30.0)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    moved = volumeFromNode(node)
    expected = RAS_OF_LPS @ matrix @ RAS_OF_LPS @ oblique.affine
    assert np.allclose(moved.affine, expected, rtol=0, atol=1e-10)
    back = volumeToNode(moved, node=node)
    assert back.GetParentTransformNode() is None  # else the result would be moved twice


def test_a_node_under_a_warp_is_refused(oblique: Volume) -> None:
    node = volumeToNode(oblique, "CT")
    warp = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    warp.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    node.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(InputError, match="'CT' is under a non-linear transform"):
        volumeFromNode(node)


def test_unusable_nodes_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="got none"):
        volumeFromNode(None)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing here")
    with pytest.raises(InputError, match="'nothing here' is empty"):
        volumeFromNode(empty)
    with pytest.raises(InputError, match=r"'photo' has 3 \(a colour picture\?\)"):
        volumeFromNode(colourNode("photo"))


def colourNode(name: str) -> slicer.vtkMRMLVectorVolumeNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", name)
    image = vtk.vtkImageData()
    image.SetDimensions(5, 4, 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    return node


# ---- radiographs --------------------------------------------------------------------------------
@pytest.mark.parametrize("view", ["PA", "AP", "LEFT LATERAL", "RIGHT LATERAL"])
def test_a_picture_stands_on_its_detector(picture: np.ndarray, view: str) -> None:
    geometry = ViewGeometry.preset(
        view, shape=picture.shape, pixel_spacing=(1.7, 0.9), isocenter=(5.0, -7.0, 3.0)
    )
    node = radiographToNode(Radiograph(picture, geometry, Quantity.LINE_INTEGRAL, view), "x")
    assert node.GetImageData().GetDimensions() == (31, 37, 1)
    for row, column in ((0, 0), (36, 0), (0, 30), (20, 11)):
        ras = ijkToRas(node) @ [column, row, 0, 1]
        assert np.allclose(ras[:3] * [-1, -1, 1], geometry.pixel_positions()[row, column], atol=1e-9)


def test_a_radiograph_comes_back_from_its_node_unchanged(picture: np.ndarray) -> None:
    geometry = ViewGeometry.lateral("right", shape=picture.shape, isocenter=(1.0, 2.0, 3.0))
    known = Radiograph(picture, geometry, Quantity.LINE_INTEGRAL, "RIGHT LATERAL", ("made up",))
    back = radiographFromNode(radiographToNode(known, "x"))
    assert np.array_equal(back.array, picture)
    assert back.geometry == geometry
    assert (back.quantity, back.view, back.history) == (known.quantity, known.view, known.history)


@pytest.mark.parametrize("suffix", [".png", ".nrrd", ".dcm"])
def test_laterality_survives_from_file_to_node_to_file(
    picture: np.ndarray, tmp_path: Path, suffix: str
) -> None:
    """A mark at the patient's right is on the left of a PA picture: in the file, the node, a file again."""
    picture = picture * 0.01
    picture[4:8, 2:6] = 7.0  # top left: the patient's right shoulder
    source = Radiograph(picture, ViewGeometry.pa(shape=picture.shape), Quantity.LINE_INTEGRAL, "PA")
    write_radiograph(source, tmp_path / f"a{suffix}")
    node = radiographToNode(read_radiograph(tmp_path / f"a{suffix}"), "PA")
    brightest = np.argwhere(slicer.util.arrayFromVolume(node)[0] > 5).mean(axis=0)
    assert np.allclose(brightest, [5.5, 3.5], atol=0.01)
    assert (ijkToRas(node) @ [*brightest[::-1], 0, 1])[0] > 0  # RAS: right is positive
    write_radiograph(radiographFromNode(node), tmp_path / f"b{suffix}")
    again = read_radiograph(tmp_path / f"b{suffix}")
    assert np.allclose(again.array, picture, atol=1e-3)
    assert not np.allclose(again.array, picture[:, ::-1], atol=0.1)  # a mirror image must fail
    assert again.geometry.is_close(source.geometry)


def nodeOfArray(array: np.ndarray, name: str = "loaded") -> slicer.vtkMRMLScalarVolumeNode:
    node = slicer.util.addVolumeFromArray(array)
    node.SetName(name)
    return node


def test_a_slice_of_a_two_slice_volume_is_one_picture(picture: np.ndarray) -> None:
    both = nodeOfArray(np.stack([picture, picture[::-1] * 2]))
    assert sliceCount(both) == 2 and sliceCount(None) == 0
    assert np.array_equal(radiographFromNode(both, sliceIndex=0).array, picture)
    assert np.array_equal(radiographFromNode(both, sliceIndex=1).array, picture[::-1] * 2)
    with pytest.raises(InputError, match="slices 0 to 1; there is no slice 2"):
        radiographFromNode(both, sliceIndex=2)


def test_a_colour_picture_counts_by_its_luminance() -> None:
    node = colourNode("photo")
    colours = slicer.util.arrayFromVolume(node)
    colours[:] = np.arange(colours.size, dtype=colours.dtype).reshape(colours.shape)
    assert np.allclose(radiographFromNode(node).array, colours[0] @ [0.299, 0.587, 0.114], atol=1e-3)
    with pytest.raises(InputError, match="Vector to Scalar Volume"):
        volumeFromNode(node)


def test_inverting_reverses_the_grey_values_within_their_range(picture: np.ndarray) -> None:
    inverted = radiographFromNode(nodeOfArray(picture), invert=True)
    assert np.allclose(inverted.array, picture.min() + picture.max() - picture, atol=1e-6)
    assert inverted.history == ("inverted by the user",)


def test_an_unknown_picture_gets_usual_values_marked_as_assumed(picture: np.ndarray) -> None:
    radiograph = radiographFromNode(nodeOfArray(picture), usualView="LEFT LATERAL")
    assert radiograph.view == "LEFT LATERAL"
    assert radiograph.geometry.source_to_detector_mm == pytest.approx(1800.0)
    assert radiograph.geometry.pixel_spacing[1] == pytest.approx(430.0 / 31)
    origins = {radiograph.meta[f"{key}.origin"] for key in ("source_to_detector_mm", "pixel_spacing_mm")}
    assert origins == {"assumed"}


def test_the_pixel_size_of_the_image_is_used_when_it_has_one(picture: np.ndarray) -> None:
    node = nodeOfArray(picture)
    node.SetSpacing(12.0, 9.0, 1.0)
    radiograph = radiographFromNode(node)
    assert radiograph.geometry.pixel_spacing == (9.0, 12.0)  # (row, column)
    assert radiograph.meta["pixel_spacing_mm.origin"] == "image"


def test_a_pixel_size_that_fits_no_chest_is_not_used(picture: np.ndarray) -> None:
    node = nodeOfArray(picture)
    node.SetSpacing(0.4, 0.5, 1.0)
    radiograph = radiographFromNode(node)
    assert radiograph.geometry.pixel_spacing[1] == pytest.approx(430.0 / 31)
    assert radiograph.meta["pixel_spacing_mm.origin"] == "assumed"
    assert any("0.5 x 0.4 mm" in note and "not used" in note for note in radiograph.history)
    entered = radiographFromNode(node, pixelSpacingMm=0.5)
    assert entered.geometry.pixel_spacing == (0.5, 0.5)


def test_given_values_override_all_others(picture: np.ndarray) -> None:
    radiograph = radiographFromNode(
        nodeOfArray(picture), view="RIGHT LATERAL", sourceToDetectorMm=1500.0,
        sourceToIsocenterMm=1300.0, pixelSpacingMm=0.7,
    )  # fmt: skip
    assert radiograph.view == "RIGHT LATERAL"
    assert radiograph.geometry.is_close(
        ViewGeometry.lateral(
            "right", source_to_detector_mm=1500.0, source_to_isocenter_mm=1300.0,
            shape=picture.shape, pixel_spacing=(0.7, 0.7),
        )
    )  # fmt: skip
    assert radiograph.meta["pixel_spacing_mm.origin"] == "argument"


def loaded(path: Path, array: np.ndarray) -> slicer.vtkMRMLScalarVolumeNode:
    """A node as Slicer has it after loading `path`: the array, and a storage node with the file's name."""
    node = nodeOfArray(array)
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    node.SetAndObserveStorageNodeID(storage.GetID())
    return node


def test_what_the_file_of_a_node_says_is_used(picture: np.ndarray, tmp_path: Path) -> None:
    """A PNG holds 16-bit steps; the JSON beside it says what they mean and how the picture was taken."""
    geometry = ViewGeometry.pa(shape=picture.shape, source_to_detector_mm=1750.0)
    write_radiograph(Radiograph(picture, geometry, Quantity.LINE_INTEGRAL, "PA"), tmp_path / "a.png")
    scale = json.loads((tmp_path / "a.json").read_text())["scale"]
    stored = np.rint(picture / scale).astype(np.uint16)
    radiograph = radiographFromNode(loaded(tmp_path / "a.png", stored))
    assert radiograph.quantity is Quantity.LINE_INTEGRAL
    assert np.allclose(radiograph.array, picture, atol=scale)
    assert radiograph.geometry.is_close(geometry)
    shorter = radiographFromNode(loaded(tmp_path / "a.png", stored), sourceToDetectorMm=1600.0)
    assert shorter.geometry.source_to_detector_mm == pytest.approx(1600.0)


def test_a_file_with_another_picture_than_the_node_is_not_used(picture: np.ndarray, tmp_path: Path) -> None:
    write_radiograph(Radiograph(picture, ViewGeometry.pa(shape=picture.shape), view="PA"), tmp_path / "a.png")
    edited = picture.copy()
    edited[:20] = 0.0
    radiograph = radiographFromNode(loaded(tmp_path / "a.png", edited))
    assert np.array_equal(radiograph.array, edited)
    assert radiograph.meta["source_to_detector_mm.origin"] == "assumed"


def test_the_polarity_is_that_of_the_slice_view(picture: np.ndarray, tmp_path: Path) -> None:
    """The file is bright = dense; a node that shows it the other way round needs the user's tick."""
    write_radiograph(
        Radiograph(picture, ViewGeometry.pa(shape=picture.shape), view="PA"), tmp_path / "a.nrrd"
    )
    node = loaded(tmp_path / "a.nrrd", 10.0 - picture)
    assert np.corrcoef(radiographFromNode(node).array.ravel(), picture.ravel())[0, 1] < -0.999
    assert np.corrcoef(radiographFromNode(node, invert=True).array.ravel(), picture.ravel())[0, 1] > 0.999


def test_a_dicom_file_is_found_by_its_instance(
    picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    geometry = ViewGeometry.lateral("right", shape=picture.shape, source_to_detector_mm=1820.0)
    known = Radiograph(picture, geometry, Quantity.LINE_INTEGRAL, "RIGHT LATERAL")
    write_radiograph(known, tmp_path / "b.dcm")

    class Database:
        def fileForInstance(self, uid: str) -> str:
            return {"1.2.3": str(tmp_path / "no.dcm"), "4.5.6": str(tmp_path / "b.dcm")}[uid]

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    node = nodeOfArray(np.stack([picture[::-1], picture]))
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 4.5.6")
    radiograph = radiographFromNode(node, sliceIndex=1)
    assert radiograph.view == "RIGHT LATERAL"
    assert radiograph.geometry.is_close(geometry, tolerance_mm=1e-3)
    assert radiographFromNode(node, sliceIndex=0).view == "PA"  # its file is gone: usual values
