"""The files and the page of `xrecon segment`: every quantity in each of them, pictures in the right place."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image
from ptx_chest import Grid, chest
from xrecon import segmentation_report
from xrecon.evaluation import pictures
from xrecon.evaluation.pneumothorax_pictures import LINE, DrawnLine, distance_picture, frontal_picture
from xrecon.evaluation.report import render_report
from xrecon.io.image import write_volume
from xrecon.pipelines import Segmentation
from xrecon.pneumothorax.parameters import PtxParameters
from xrecon.pneumothorax.quantify import quantify
from xrecon.pneumothorax.quantify_all import measure
from xrecon.volume import InputError

GRID = Grid((31, 37, 49), (7.5, 7.0, 8.0))


@pytest.fixture(scope="module")
def segmented():
    """A chest with air on the right and its true labels as a result of PTX-Seg."""
    volume, lungs, labels = chest(GRID, "r")
    found = quantify(labels)
    result = Segmentation(
        labels, lungs, found, measure(volume, labels), PtxParameters(), "given", "cpu", list(found.warnings)
    )
    return volume, lungs, result


def _line_pixels(image: Image.Image) -> np.ndarray:
    """Rows and columns of the pixels in the colour of lines."""
    return np.argwhere((np.asarray(image, int) == LINE).all(axis=-1))


def test_the_page_holds_numbers_pictures_and_warnings(segmented):
    volume, _, result = segmented
    page = render_report(segmentation_report.report(result, volume, "chest <7>.nrrd", "xrecon segment"))
    air = result.measures.get("air_volume", "right")
    assert f"{air.value:.0f} ({air.low:.0f} to {air.high:.0f})" in page
    assert "not a medical device" in page and "chest &lt;7&gt;.nrrd" in page
    for words in ("largest interpleural distance", "mediastinal shift", "Collins, estimated from CT"):
        assert words in page
    assert page.count("data:image/png") == 3
    place = result.measures.places["right"]
    assert f"{place.mm:.0f} mm in the {place.level} third" in page


def test_the_hint_comes_first_among_the_warnings(segmented):
    from dataclasses import replace

    volume, _, result = segmented
    hinted = replace(result, measures=replace(result.measures, hint="Signs."), warnings=["It leaked."])
    assert segmentation_report.report(hinted, volume, "a").warnings == ["Signs.", "It leaked."]
    assert segmentation_report.text(hinted).endswith("Signs.")


def test_without_air_there_is_no_distance_to_draw():
    volume, lungs, labels = chest(GRID)
    result = Segmentation(
        labels, lungs, quantify(labels), measure(volume, labels), PtxParameters(), "given", "cpu"
    )
    page = render_report(segmentation_report.report(result, volume, "healthy"))
    assert page.count("data:image/png") == 2 and page.count("no pleural air segmented") == 2


def test_a_distance_is_drawn_where_it_lies(segmented):
    volume, _, result = segmented
    start, end = (-100.0, -40.0, 30.0), (-60.0, -40.0, 30.0)  # across the right side, 40 mm along x
    with_line = distance_picture(volume, result.labels, DrawnLine("", start, end))
    found = _line_pixels(with_line)
    scale = pictures.tile_scale(volume, pictures.TILE_PIXELS)
    tile = round(volume.shape[2] * volume.spacing[2] * scale)  # the axial tile is the first
    axial = found[found[:, 1] < 14 + tile]
    assert np.ptp(axial[:, 1]) == pytest.approx(40.0 * scale, abs=4)
    assert axial[:, 1].mean() < 14 + tile / 2  # the patient's right is on the left of the picture


def test_the_frontal_picture_keeps_millimetres_and_sides(segmented):
    volume, _, result = segmented
    line = DrawnLine("", (-120.0, 0.0, 50.0), (-120.0, 0.0, -50.0))
    found = _line_pixels(frontal_picture(volume, result.labels, [line], tile_pixels=392))
    found = found[found[:, 0] < 14 + 31 * 7.5]  # above the legend
    assert np.ptp(found[:, 0]) == pytest.approx(100.0, abs=4)  # 392 mm wide: a pixel is a mm
    assert found[:, 1].mean() == pytest.approx(14 + 392 / 2 - 120, abs=4)
    other = result.labels.moved((8.0, 0.0, 0.0))
    with pytest.raises(InputError, match="one grid"):
        frontal_picture(volume, other, [])


def test_files_of_the_command(tmp_path, segmented):
    from xrecon import commands

    volume, lungs, _ = segmented
    write_volume(volume, tmp_path / "ct.nrrd")
    write_volume(lungs, tmp_path / "lungs.nrrd")
    output = tmp_path / "out"
    given = (tmp_path / "lungs.nrrd", (), {}, "cpu", _silent, "reference")
    done = commands.segment(tmp_path / "ct.nrrd", output, *given, report_page=True)
    assert done.text.startswith("PTX-Seg in reference mode")
    assert done.files["report"] == output / "report.html" and done.files["report"].is_file()
    with open(done.files["table"], newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    stored = json.loads(done.files["summary"].read_text())["measures"]
    assert stored["schema_version"] == "1.0"
    for row in rows:
        value = stored[row["side"]][row["quantity"]]["value"]
        assert row["value"] == "" if value is None else float(row["value"]) == pytest.approx(value)
    quantities = done.numbers["quantities"]
    assert stored["right"]["air_volume"]["value"] == pytest.approx(quantities["right_pneumothorax_ml"])
    page = done.files["report"].read_text(encoding="utf-8")
    assert "xrecon segment --ct ct.nrrd --output out --mode reference --lungs lungs.nrrd --report" in page
    assert str(tmp_path) not in page  # pages are shared, and folders may be called after patients
    plain = commands.segment(tmp_path / "ct.nrrd", tmp_path / "plain", *given)
    assert "report" not in plain.files and not (tmp_path / "plain" / "report.html").exists()


def _silent(*_: object) -> None:
    pass
