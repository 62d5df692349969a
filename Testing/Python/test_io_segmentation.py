"""Segmentations in files: labels, names, colours and codes come back; laterality is kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from xrecon.io.image import read_volume, write_volume
from xrecon.io.segmentation import (
    PTX_SEGMENTS,
    SegmentDescription,
    labels_on_grid,
    read_segmentation,
    write_segmentation,
)
from xrecon.volume import InputError, Quantity, Volume


def test_round_trip(label_volume: Volume, tmp_path: Path) -> None:
    write_segmentation(label_volume, tmp_path / "a.seg.nrrd")
    labels, segments = read_segmentation(tmp_path / "a.seg.nrrd")
    assert np.array_equal(labels.array, label_volume.array)
    assert labels.array.dtype == np.uint8
    assert labels.same_grid(label_volume, 1e-9)
    assert labels.quantity is Quantity.LABEL
    assert tuple(segments) == PTX_SEGMENTS
    assert dict(labels.meta) == {**label_volume.meta, "file": "a.seg.nrrd"}
    assert os.listdir(tmp_path) == ["a.seg.nrrd"]
    again = read_volume(tmp_path / "a.seg.nrrd", Quantity.LABEL)
    assert np.array_equal(again.array, label_volume.array)
    with pytest.raises(InputError, match="'HU'.*a.seg.nrrd holds 'label'"):
        read_volume(tmp_path / "a.seg.nrrd")


def test_codes_and_sides() -> None:
    """SNOMED CT: lung 39607008, pneumothorax 36118008, right 24028007, left 7771000."""
    expected = {
        1: ("right lung", "39607008", "24028007"),
        2: ("left lung", "39607008", "7771000"),
        3: ("right pneumothorax", "36118008", "24028007"),
        4: ("left pneumothorax", "36118008", "7771000"),
    }
    for segment in PTX_SEGMENTS:
        parts = [part.split("^") for part in segment.terminology.split("~")]
        assert len(parts) == 7
        assert (segment.name, parts[2][1], parts[3][1]) == expected[segment.label]
    assert len({segment.color for segment in PTX_SEGMENTS}) == 4


def test_fields_that_slicer_reads(label_volume: Volume, tmp_path: Path) -> None:
    write_segmentation(label_volume, tmp_path / "a.seg.nrrd")
    image = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert image.GetMetaData("Segment2_Name") == "right pneumothorax"
    assert image.GetMetaData("Segment2_LabelValue") == "3"
    assert image.GetMetaData("Segment2_Extent") == "2 3 2 3 6 7"  # x, y, z of labels[6:8, 2:4, 2:4]
    assert image.GetMetaData("Segment2_Layer") == "0"
    numbers = image.GetMetaData("Segmentation_ConversionParameters").split("|")[1].split(";")[:-1]
    matrix = np.array(numbers[:16], float).reshape(4, 4)
    assert np.allclose(matrix, np.diag([-1, -1, 1, 1]) @ label_volume.affine, atol=1e-12)
    assert numbers[16:] == ["0", "12", "0", "10", "0", "8"]


def test_empty_segments_are_kept(label_volume: Volume, tmp_path: Path) -> None:
    empty = label_volume.with_array(np.zeros(label_volume.shape, bool))
    write_segmentation(empty, tmp_path / "e.seg.nrrd")
    labels, segments = read_segmentation(tmp_path / "e.seg.nrrd")
    assert not labels.array.any()
    assert [segment.name for segment in segments] == [segment.name for segment in PTX_SEGMENTS]


def test_own_segments_and_large_labels(label_volume: Volume, tmp_path: Path) -> None:
    segments = (
        SegmentDescription(300, "müde; a|b:c=d", (0.125, 0.5, 1.0)),
        SegmentDescription(7, "other", (0, 0, 0)),
    )
    volume = label_volume.with_array(np.where(label_volume.array == 1, 300, 0))
    write_segmentation(volume, tmp_path / "o.seg.nrrd", segments)
    labels, read = read_segmentation(tmp_path / "o.seg.nrrd")
    assert labels.array.dtype == np.int16
    assert np.array_equal(labels.array, volume.array)
    assert tuple(read) == segments


def slicer_file(path: Path, volume: Volume, layers: list[np.ndarray], segments: list[dict[str, str]]) -> None:
    """A segmentation with layers as Slicer writes it: layers first, then x, y, z."""
    image = sitk.GetImageFromArray(np.stack(layers, axis=-1), isVector=True)
    image.SetSpacing(volume.spacing[::-1])
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction.ravel().tolist())
    for number, fields in enumerate(segments):
        for key, value in fields.items():
            image.SetMetaData(f"Segment{number}_{key}", value)
    sitk.WriteImage(image, str(path), True)


def test_overlapping_layers_are_flattened(label_volume: Volume, tmp_path: Path) -> None:
    first, second = np.zeros((2, *label_volume.shape), np.uint8)
    first[1:5, 2:6, 3:9] = 1
    second[4:8, 5:9, 3:9] = 1  # overlaps in one corner of 1 x 1 x 6
    fields = [{"ID": n, "Name": n, "LabelValue": "1", "Layer": str(i)} for i, n in enumerate("ab")]
    slicer_file(tmp_path / "s.seg.nrrd", label_volume, [first, second], fields)
    labels, segments = read_segmentation(tmp_path / "s.seg.nrrd")
    assert [(s.label, s.name) for s in segments] == [(1, "a"), (2, "b")]
    assert np.array_equal(labels.array, np.where(second, 2, first))
    assert labels.meta["overlap"] == "6"
    assert labels.same_grid(label_volume, 1e-9)


def test_labels_go_back_onto_the_ct(label_volume: Volume) -> None:
    """A file cropped to the box around its segments covers the same voxels of the CT again."""
    first = (1, 2, 1)
    cropped = Volume(
        label_volume.array[1:8, 2:9, 1:12],
        label_volume.spacing,
        tuple(label_volume.index_to_world(np.array(first[::-1]))),
        label_volume.direction,
        Quantity.LABEL,
    )
    back = labels_on_grid(cropped, label_volume)
    assert np.array_equal(back.array, label_volume.array)
    assert back.same_grid(label_volume)
    assert labels_on_grid(label_volume, label_volume) is label_volume


# -- bad inputs and outputs --------------------------------------------------------------------
def test_labels_that_cannot_be_written(label_volume: Volume, tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    with pytest.raises(InputError, match="whole numbers.*float32"):
        write_segmentation(label_volume.with_array(label_volume.array.astype(np.float32)), path)
    with pytest.raises(InputError, match=r"labels 0 and \[1, 2, 3, 4\], got \[5\]"):
        write_segmentation(label_volume.with_array(label_volume.array + (label_volume.array == 4)), path)
    with pytest.raises(InputError, match="got .-4, -3, -2, -1"):
        write_segmentation(label_volume.with_array(-label_volume.array.astype(np.int16)), path)
    with pytest.raises(InputError, match="different labels"):
        write_segmentation(label_volume, path, [PTX_SEGMENTS[0], PTX_SEGMENTS[0]])
    with pytest.raises(InputError, match="seg.nrrd, got .*a.nrrd"):
        write_segmentation(label_volume, tmp_path / "a.nrrd")
    assert os.listdir(tmp_path) == []


def test_files_that_are_no_segmentation(label_volume: Volume, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a segmentation"):
        read_segmentation(tmp_path / "absent.seg.nrrd")
    write_volume(label_volume, tmp_path / "plain.nrrd")
    with pytest.raises(InputError, match="plain.nrrd describes no segments"):
        read_segmentation(tmp_path / "plain.nrrd")
    (tmp_path / "text.seg.nrrd").write_text("text")
    with pytest.raises(InputError, match="cannot read .*text.seg.nrrd"):
        read_segmentation(tmp_path / "text.seg.nrrd")
    fields = [{"ID": "a", "LabelValue": "1", "Layer": "5"}]
    slicer_file(tmp_path / "s.seg.nrrd", label_volume, [label_volume.array] * 2, fields)
    with pytest.raises(InputError, match="6 layers"):
        read_segmentation(tmp_path / "s.seg.nrrd")


def test_unwritable_folder(label_volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OSError, match="a file stands where"):
        write_segmentation(label_volume, tmp_path / "out" / "a.seg.nrrd")
