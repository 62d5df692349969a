"""Radiograph files and places that cannot be used: one clear sentence, nothing left behind."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from radiograph_inputs import SHAPE, save
from xrecon.io import atomic
from xrecon.io.radiograph import read_radiograph, write_radiograph
from xrecon.volume import InputError, Radiograph


# -- bad inputs --------------------------------------------------------------------------------
def test_colours_and_transparency(grey: np.ndarray, tmp_path: Path) -> None:
    colours = np.stack([grey, grey[::-1], grey], axis=-1)
    with pytest.raises(InputError, match=r"got colours \(RGB\) in .*c.png"):
        read_radiograph(save(colours, tmp_path / "c.png"))
    veiled = np.dstack([grey, grey, grey, np.full_like(grey, 128)])
    with pytest.raises(InputError, match="without transparency"):
        read_radiograph(save(veiled, tmp_path / "t.png"))
    with pytest.raises(InputError, match="black and white only"):
        read_radiograph(save(grey > 99, tmp_path / "b.png"))
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(tmp_path / "c.nrrd"))
    with pytest.raises(InputError, match="3 numbers per pixel"):
        read_radiograph(tmp_path / "c.nrrd")


def test_not_a_radiograph(oblique_volume: object, grey: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a radiograph.*absent.png"):
        read_radiograph(tmp_path / "absent.png")
    with pytest.raises(InputError, match="got the folder"):
        read_radiograph(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputError, match=r"empty.png \(0 bytes\)"):
        read_radiograph(tmp_path / "empty.png")
    for name in ("text.png", "text.tif", "text.jpg", "text.nrrd", "text.mha"):
        (tmp_path / name).write_text("only text, whatever the name says")
        with pytest.raises(InputError, match=f"cannot read .*{name}"):
            read_radiograph(tmp_path / name)
    (tmp_path / "a.gif").write_text("GIF89a")
    with pytest.raises(InputError, match="radiograph as DICOM or .png"):
        read_radiograph(tmp_path / "a.gif")
    whole = save(np.tile(grey, (20, 20)), tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot read .*cut.png"):
        read_radiograph(tmp_path / "cut.png")


def test_a_ct_given_as_radiograph(oblique_volume, tmp_path: Path) -> None:
    from xrecon.io.image import write_volume

    write_volume(oblique_volume, tmp_path / "ct.nrrd")
    with pytest.raises(InputError, match="expected one radiograph, got 13 x 11 x 9 .*is it a CT"):
        read_radiograph(tmp_path / "ct.nrrd")
    pages = [Image.fromarray(plane) for plane in oblique_volume.array[:3].astype(np.uint16)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="has 3 pictures: choose one, from 1 to 3"):
        read_radiograph(tmp_path / "pages.tif")


def test_nan_and_constant(tmp_path: Path) -> None:
    array = np.ones(SHAPE, np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "flat.nrrd"))
    with pytest.raises(InputError, match="flat.nrrd, got 1147 pixels all equal to 1"):
        read_radiograph(tmp_path / "flat.nrrd")
    array[3, 4] = np.nan
    for name in ("nan.nrrd", "nan.mha"):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / name))
        with pytest.raises(InputError, match=f"{name}, got 1 NaN"):
            read_radiograph(tmp_path / name)


def test_bad_arguments(grey: np.ndarray, tmp_path: Path) -> None:
    path = save(grey, tmp_path / "a.png")
    with pytest.raises(InputError, match="expected a view out of .*'front'"):
        read_radiograph(path, view="front")
    with pytest.raises(InputError, match=r"pixel_spacing_mm as a positive number of mm, got 0 \(argument\)"):
        read_radiograph(path, pixel_spacing_mm=0)
    with pytest.raises(InputError, match="source_to_detector_mm as a positive number of mm, got nan"):
        read_radiograph(path, source_to_detector_mm=float("nan"))


# -- bad outputs -------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", [".png", ".nrrd", ".dcm"])
def test_a_failed_write_leaves_nothing(
    drr: Radiograph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file: a file stands where a folder should be"):
        write_radiograph(drr, tmp_path / "file" / f"a{suffix}")
    broken = replace(drr, array=np.full(SHAPE, np.inf))
    with pytest.raises(InputError, match="NaN or infinite"):
        write_radiograph(broken, tmp_path / f"a{suffix}")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="disk is full"):
        write_radiograph(drr, tmp_path / f"a{suffix}")
    assert os.listdir(tmp_path) == ["file"]


def test_unknown_extension(drr: Radiograph, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.dcm, \.png, \.nrrd, got .*a.jpg"):
        write_radiograph(drr, tmp_path / "a.jpg")
