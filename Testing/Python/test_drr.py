"""`xrecon drr` on one CT: any views and detectors, every setting, the same pixels again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from cli_inputs import body, error_line, xrecon
from dicom_inputs import write_ct_series
from xrecon import cli
from xrecon.drr.options import detector_shape, pixel_spacing, point, radiography
from xrecon.drr.views import NamedView, view_angles, views_about, views_from_file
from xrecon.io.image import write_volume
from xrecon.io.radiograph import read_radiograph
from xrecon.physics.geometry import VIEWS, ViewGeometry
from xrecon.physics.poses import view_from_positioner_angles
from xrecon.physics.radiography_settings import RadiographySettings
from xrecon.physics.view_names import angle_name
from xrecon.training.store import open_store
from xrecon.volume import InputError, Quantity

SMALL = ("--detector-pixels", "24x20", "--pixel-spacing-mm", "16x20.5")


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ct") / "ct.nrrd"
    write_volume(body(), path)
    return path


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> dict:
    """The result of a run that must succeed."""
    code, out, err = xrecon(capfd, "drr", *arguments, "--progress", "json")
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def refusal(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code, _, err = xrecon(capfd, "drr", *arguments)
    return code, error_line(err)


# -- views -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "angles", "name"),
    [
        ("pa", (0, 0), "PA"),
        ("LL", (90, 0), "LEFT LATERAL"),
        ("right_lateral", (-90, 0), "RIGHT LATERAL"),
        ("rao", (-45, 0), "RAO 45"),
        ("LAO 30 CRA 10", (30, 10), "LAO 30 CRA 10"),
        ("rao30 cau 7.5", (-30, -7.5), "RAO 30 CAU 7.5"),
        ("CAU 20", (0, -20), "CAU 20"),
        ("30,10", (30, 10), "LAO 30 CRA 10"),
        ("-120.5 , -3", (-120.5, -3), "RAO 120.5 CAU 3"),
        ("-180,0", (-180, 0), "AP"),
        ("0,0", (0, 0), "PA"),
    ],
)
def test_views_by_name_and_angle(text: str, angles: tuple[float, float], name: str) -> None:
    assert view_angles(text) == angles
    assert angle_name(*angles) == name
    again = tuple(angle + 360 * (angle == -180) for angle in angles)
    assert view_angles(name) == again  # a view's name is a way to ask for it


@pytest.mark.parametrize("text", ["oblique", "", "30", "200,0", "0,91", "LAO x", "1,2,3", "LAO 30 RAO 2"])
def test_what_is_no_view(text: str) -> None:
    with pytest.raises(InputError, match="expected"):
        view_angles(text)


def test_views_stand_where_they_are_asked_for() -> None:
    options = {"pixel_spacing": (2.0, 3.0), "source_to_detector_mm": 1200.0, "source_to_isocenter_mm": 900.0}
    views = views_about((1.0, 2.0, 3.0), (*VIEWS, "LAO 10", "20,-5"), (20, 30), **options)
    for view in views[:4]:
        preset = ViewGeometry.preset(view.name, shape=(20, 30), isocenter=(1.0, 2.0, 3.0), **options)
        assert view.geometry == preset and view.preset == view.name
    assert (views[4].preset, views[5].preset) == ("PA", "")
    expected = view_from_positioner_angles(20.0, -5.0, shape=(20, 30), isocenter=(1.0, 2.0, 3.0), **options)
    assert views[5].geometry == expected and views[5].slug == "lao_20_cau_5"
    assert NamedView("LAO 12.5 CRA -1", "", expected).slug == "lao_12p5_cra_-1"
    with pytest.raises(InputError, match="PA more than once"):
        views_about((0, 0, 0), ("PA", "0,0"), (20, 20))


# -- text to options ---------------------------------------------------------------------------
def test_numbers_in_options() -> None:
    assert (detector_shape("512"), detector_shape("480x640")) == ((512, 512), (480, 640))
    assert (pixel_spacing("0.84"), pixel_spacing("0.8x0.9")) == ((0.84, 0.84), (0.8, 0.9))
    assert point("1.5,-20,310") == (1.5, -20.0, 310.0)
    for reader, wrong in (
        (detector_shape, ("4", "a", "10x", "9000", "10x20x30")),
        (pixel_spacing, ("0", "a", "1x2x3", "-1", "nan")),
        (point, ("1,2", "1,2,a", "", "1,nan,2", "inf,0,0")),
    ):
        for text in wrong:
            with pytest.raises(InputError, match="expected"):
                reader(text)


def test_settings_from_look_file_and_changes(tmp_path: Path) -> None:
    assert radiography(None, None, {}, None) == (RadiographySettings.ideal(), {})
    assert radiography("ideal", None, {}, 55.0)[0] == RadiographySettings.ideal(55.0)
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"tube_kvp": 90, "grid": False}))
    chest = RadiographySettings.chest(tube_kvp=90.0, grid=False, noise=False)
    assert radiography("chest", file, {"noise": False}, None) == (chest, {})
    options = {"seed": 7, "keep_table": True, "complete": False}
    file.write_text(json.dumps({"radiography": chest.to_dict(), "options": {**options, "views": ["PA"]}}))
    assert radiography(None, file, {}, None) == (chest, options)
    for text, changes, energy, said in (
        ("{", {}, None, "as JSON"),
        ("[]", {}, None, "a JSON object"),
        ('{"colour": 1}', {}, None, "colour"),
        ("{}", {"tube_kvp": "many"}, None, "tube_kvp"),
        ('{"spectrum": "poly"}', {}, 60.0, "one energy"),
        ('{"radiography": {}, "options": {"seed": "x"}}', {}, None, "damaged"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=said):
            radiography(None, file, changes, energy)


# -- files -------------------------------------------------------------------------------------
def test_odd_views_come_back_from_every_file(
    ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    views = ("--views", "PA", "-30,10", "LAO 70 CAU 5", "LPO", "LL")
    where = ("--isocenter", "5,-6,7", "--source-to-detector-mm", 1500, "--source-to-isocenter-mm", 1100)
    result = run(
        capfd, "--ct", ct, "--output", tmp_path, *views, *where, *SMALL, "--formats", "dcm,png,nrrd,store"
    )
    expected = views_about((5.0, -6.0, 7.0), views[1:], (24, 20), (16.0, 20.5), 1500.0, 1100.0)
    slugs = ["pa", "rao_30_cra_10", "lao_70_cau_5", "lpo", "left_lateral"]
    assert [view.slug for view in expected] == slugs
    numbers = json.loads((tmp_path / "drr.json").read_text())
    assert numbers == {**result["numbers"], "warnings": []} and len(numbers["software"]) == 4
    stored = open_store(tmp_path / "store").load("ct")
    for view, of_store in zip(expected, stored.radiographs, strict=True):
        assert ViewGeometry.from_dict(numbers["views"][view.name]) == view.geometry == of_store.geometry
        for suffix in ("dcm", "png", "nrrd"):
            read = read_radiograph(tmp_path / f"ct_{view.slug}.{suffix}")
            assert (read.geometry, read.view) == (view.geometry, view.preset)
            assert read.quantity is Quantity.LINE_INTEGRAL
            np.testing.assert_allclose(read.array, of_store.array, atol=np.ptp(read.array) / 32767)
        dataset = pydicom.dcmread(tmp_path / f"ct_{view.slug}.dcm")
        assert dataset.PatientID == f"SYNTHETIC-{numbers['source_sha256'][:16]}"
        assert len(str(dataset.PositionerPrimaryAngle)) < 8  # -30.0, not -30.000000000000
        assert dataset.SeriesDescription == f"Synthetic radiograph {view.name}"
        assert dataset.StudyDescription == "Synthetic radiographs of ct"
        assert dataset.SeriesNumber == slugs.index(view.slug) + 1
        assert "SourceImageSequence" not in dataset  # the CT is no DICOM series: nothing is invented
    assert stored.entry.settings == numbers["options"] and stored.volume.meta["table"] == "removed"
    assert stored.volume.same_grid(body()) and np.all(stored.volume.array <= body().array.max())
    lao = expected[2].geometry
    assert view_from_positioner_angles(70.0, -5.0).normal == pytest.approx(lao.normal)


def test_the_same_pixels_again(ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """From drr.json alone; another seed makes other noise."""
    look = ("--look", "chest", "--set", "tube_kvp=100", "film_latitude=2")
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    views = ("--views", "PA", "20,-10", *SMALL, "--formats", "png")
    run(capfd, "--ct", ct, "--output", one, *look, *views, "--seed", 5, "--keep-table", "--keep-truncation")
    again = ("--geometry", one / "drr.json", "--settings", one / "drr.json", "--formats", "png")
    run(capfd, "--ct", ct, "--output", two, *again)
    run(capfd, "--ct", ct, "--output", other, *again, "--seed", 6)
    names = sorted(path.name for path in one.glob("*.png"))
    assert names == ["ct_lao_20_cau_10.png", "ct_pa.png"]
    for name in names:
        pictures = [read_radiograph(folder / name) for folder in (one, two, other)]
        assert pictures[0].quantity is Quantity.DISPLAY
        assert np.array_equal(pictures[0].array, pictures[1].array)
        assert not np.array_equal(pictures[0].array, pictures[2].array)
        assert {p.geometry for p in pictures} == {pictures[0].geometry}
    first, second = (json.loads((folder / "drr.json").read_text()) for folder in (one, two))
    kept = {"seed": 5, "keep_table": True, "complete": False}
    assert second["options"].items() >= kept.items() and not second["table_removed"]
    assert first["radiography"] == second["radiography"] and second["seed"] == 5
    assert first["radiography"]["tube_kvp"] == 100.0 and first["radiography"]["film_latitude"] == 2.0
    assert first["sha256"]["ct_pa.png"] == second["sha256"]["ct_pa.png"]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_film_is_for_presentation_and_line_integrals_are_not(
    ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], photometric: str
) -> None:
    change = ("--set", f"photometric={photometric}")
    run(capfd, "--ct", ct, "--output", tmp_path / "i", *SMALL, "--formats", "dcm", *change)
    run(capfd, "--ct", ct, "--output", tmp_path / "f", *SMALL, "--formats", "dcm", "--look", "chest", *change)
    ideal, film = (pydicom.dcmread(tmp_path / name / "ct_pa.dcm") for name in "if")
    assert ideal.PresentationIntentType == "FOR PROCESSING"
    assert film.PresentationIntentType == "FOR PRESENTATION"
    assert film.PhotometricInterpretation == ideal.PhotometricInterpretation == photometric
    assert (film.KVP, film.BitsStored, film.Grid) == (120, 12, "RECIPROCATING") and film.ExposureInuAs > 0
    assert "KVP" not in ideal and "Exposure" not in ideal
    read = [read_radiograph(tmp_path / name / "ct_pa.dcm") for name in "if"]
    middle = (slice(8, 16), slice(7, 13))
    assert all(r.array[middle].mean() > r.array[0].mean() for r in read)  # bright is dense in both


def test_a_ct_of_a_dicom_series_is_named_as_source(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    series = tmp_path / "series"
    uids = write_ct_series(series, body())
    run(capfd, "--ct", series, "--output", tmp_path / "o", *SMALL, "--formats", "dcm")
    items = pydicom.dcmread(tmp_path / "o" / "series_pa.dcm").SourceImageSequence
    assert [item.ReferencedSOPInstanceUID for item in items] == uids


def test_a_page_compares_settings(ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(capfd, "--ct", ct, "--output", tmp_path / "film", *SMALL, "--formats", "dcm", "--look", "chest")
    synthetic = tmp_path / "film" / "ct_pa.dcm"
    code, line = refusal(capfd, "--ct", ct, "--output", tmp_path / "o", *SMALL, "--film", synthetic)
    assert code == cli.BAD_INPUT and "synthetic" in line and not (tmp_path / "o").exists()
    dataset = pydicom.dcmread(synthetic)
    del dataset[0x0008, 0x001C]
    dataset.remove_private_tags()  # as a detector would have written it
    film = tmp_path / "real.dcm"
    dataset.save_as(film)
    result = run(
        capfd, "--ct", ct, "--output", tmp_path / "o", *SMALL, "--formats", "png", "--set", "tube_kvp=81",
        "spectrum=poly", "--views", "PA", "LAO 30", "--film", film,
    )  # fmt: skip
    page = (tmp_path / "o" / "comparison.html").read_text(encoding="utf-8")
    assert result["files"]["comparison"].endswith("comparison.html")
    assert all(title in page for title in ("120 kVp", "as chosen", "LAO 30", "real.dcm"))
    assert "--compare" not in page  # no command that nobody ran
    assert "unnamed view" not in page and "1 real film beside them" in page


def test_what_would_fail_at_the_end_is_told_first(
    ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "manifest.json").write_text("{}")
    code, line = refusal(capfd, "--ct", ct, "--output", tmp_path, *SMALL, "--formats", "png,store")
    assert code == cli.BAD_INPUT and "'schema_version' is missing" in line
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    for where in (("--ct", ct), ("--data", ct.parent)):
        code, line = refusal(capfd, *where, "--output", tmp_path / "o", "--film", tmp_path / "none.dcm")
        assert code == cli.BAD_INPUT and "none.dcm" in line and not (tmp_path / "o").exists()


# -- refusals ----------------------------------------------------------------------------------
def test_wrong_usage_is_told(ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    geometry = tmp_path / "views.json"
    geometry.write_text(json.dumps([ViewGeometry.pa(shape=(9, 9)).to_dict()]))
    wrong_name, huge = tmp_path / "wrong.json", tmp_path / "huge.json"
    wrong_name.write_text(json.dumps({"PA": ViewGeometry.lateral(shape=(9, 9)).to_dict()}))
    huge.write_text(json.dumps([{**ViewGeometry.pa(shape=(9, 9)).to_dict(), "shape": [10**6, 10**6]}]))
    for wrong, said in (
        (("--views", "PA", "PA"), "more than once"),
        (("--views", "up"), "LAO 30 CRA 10"),
        (("--formats", "dcm,gif"), "gif"),
        (("--detector-pixels", "7"), "from 8"),
        (("--set", "tube_kvp=1000"), "tube_kvp"),
        (("--set", "mystery=1"), "mystery"),
        (("--set", "tube_kvp=90", "grid=true"), "tube_kvp (by spectrum=mono)"),
        (("--set", "grid=true"), "grid (by scatter=false"),
        (("--look", "chest", "--set", "scatter=false", "scatter_exponent=2"), "scatter_exponent"),
        (("--geometry", wrong_name), "the view 'PA'"),
        (("--geometry", huge), "8192"),
        (("--look", "chest", "--energy-kev", "60"), "one energy"),
        (("--geometry", geometry, "--views", "PA"), "--views"),
        (("--geometry", tmp_path / "none.json"), "none.json"),
        (("--source-to-detector-mm", "nan"), "--source-to-detector-mm"),
        (("--source-to-detector-mm", 1000, "--source-to-isocenter-mm", 1200), "1200"),
    ):
        code, line = refusal(capfd, "--ct", ct, "--output", tmp_path / "o", *wrong)
        assert code in (cli.USAGE, cli.BAD_INPUT) and said in line, (wrong, line)
        assert not (tmp_path / "o").exists()


def test_geometries_in_files(tmp_path: Path) -> None:
    oblique, lateral = view_from_positioner_angles(40.0, shape=(9, 9)), ViewGeometry.lateral(shape=(9, 9))
    file = tmp_path / "views.json"
    named = {"x": oblique.to_dict(), "LEFT LATERAL": lateral.to_dict()}
    for data in (named, {"views": named, "seed": 1}):
        file.write_text(json.dumps(data))
        first, second = views_from_file(file)
        assert first == NamedView("x", "", oblique) and second.preset == "LEFT LATERAL"
    file.write_text(json.dumps([lateral.to_dict()]))
    assert views_from_file(file) == [NamedView("view 1", "LEFT LATERAL", lateral)]
    for text in ("{", "{}", "3", '{"a": 3}', '{"a": {"source": [0, 0, 0]}}', '{"views": []}'):
        file.write_text(text)
        with pytest.raises(InputError, match=r"views\.json"):
            views_from_file(file)


def test_views_that_miss_the_ct_are_refused(
    ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--ct", ct, "--output", tmp_path / "o", "--detector-pixels", 32)
    code, told = refusal(capfd, *arguments, "--isocenter", "100000,0,0", "--views", "PA")
    assert code == cli.BAD_INPUT and "no ray of PA does" in told
    assert not (tmp_path / "o").exists()


def test_a_source_within_the_patient_is_told_of(
    ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    near = ("--source-to-isocenter-mm", 60, "--source-to-detector-mm", 500)
    numbers = run(capfd, "--ct", ct, "--output", tmp_path / "o", "--detector-pixels", 32, *near)["numbers"]
    assert [w for w in numbers["warnings"] if "PA: the source stands within the CT" in w]


def test_a_store_of_two_looks_is_told_of(ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small = ("--output", tmp_path / "o", "--detector-pixels", 32, "--formats", "store")
    other = tmp_path / "other.nrrd"
    write_volume(body(), other)
    first = run(capfd, "--ct", ct, *small)["numbers"]
    second = run(capfd, "--ct", other, *small, "--look", "chest")["numbers"]
    assert not [w for w in first["warnings"] if "different looks" in w]
    assert [w for w in second["warnings"] if "holds radiographs of 2 different looks" in w]
