"""The comparison page: whole, self-contained, honest about films; charts and histograms that are right."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest
from radiography_inputs import slab
from xrecon.evaluation.charts import Curve, histogram, line_chart
from xrecon.evaluation.radiograph_page import films_of, histogram_overlap, shown, write_comparison
from xrecon.physics.geometry import ViewGeometry
from xrecon.physics.radiography import RadiographySettings, render_comparison, render_radiographs
from xrecon.physics.radiography_settings import comparison_settings
from xrecon.volume import InputError, Quantity, Radiograph

VIEWS = [ViewGeometry.pa(shape=(40, 44)), ViewGeometry.lateral(shape=(40, 44))]


@pytest.fixture(scope="module")
def rows():
    return render_comparison(slab(-200.0), VIEWS)


def film(view="PA", seed=0, name="film.dcm") -> Radiograph:
    array = np.random.default_rng(seed).random((30, 25)) * 255
    return Radiograph(array, None, Quantity.DISPLAY, view, meta={"file": name})


def text_of(path) -> str:
    page = re.sub(r"<style>.*?</style>|<[^>]+>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(html.unescape(page).split())


def test_a_comparison_is_what_single_renderings_are(rows):
    settings = comparison_settings()
    assert [title for title, _ in rows] == list(settings)
    for title in ("ideal, 70 keV", "120 kVp, scatter", "with noise at 2.5 uGy", "film"):
        alone = render_radiographs(slab(-200.0), VIEWS, settings[title])
        for a, b in zip(dict(rows)[title], alone, strict=True):
            np.testing.assert_array_equal(a.array, b.array)
            assert (a.view, a.quantity, a.history, a.meta) == (b.view, b.quantity, b.history, b.meta)


def test_the_page_shows_every_setting_and_says_which_films_it_has(rows, tmp_path):
    path = write_comparison(
        tmp_path / "page.html", rows, [film(), film("AP", 1, "bed.dcm"), film("", 2, "unknown.dcm")],
        subject="<b>nobody</b>", warnings=["something is cut"], command="xrecon drr --compare",
    )  # fmt: skip
    page, text = path.read_text(encoding="utf-8"), text_of(path)
    assert page.count("<img ") == 2 * 6 and not re.search("https?://", page)
    assert "<b>nobody</b>" not in page and "nobody" in text and "something is cut" in text
    for title, _ in rows:
        assert text.count(title) >= 2
    assert "with 2 real films beside them" in text
    assert text.count("No real film of this view (LEFT LATERAL) was given") == 2
    assert "film of this view (PA)" not in text
    assert "real film: bed.dcm AP" in text and "unknown.dcm" not in text
    assert "scatter True" in text, "what changed from one settings to the next"
    assert "xrecon drr --compare" in text


def test_a_page_of_one_setting_without_films(tmp_path):
    rows = [("ideal", render_radiographs(slab(0.0), VIEWS[:1], RadiographySettings.ideal()))]
    text = text_of(write_comparison(tmp_path, rows))
    assert (tmp_path / "report.html").is_file() and "no real film beside them" in text


def test_rows_must_have_the_same_views(rows):
    with pytest.raises(InputError, match="got none"):
        write_comparison("page.html", [])
    title, radiographs = rows[0]
    with pytest.raises(InputError, match=r"expected the views .*got \['PA'\] for 'other'"):
        write_comparison("page.html", [(title, radiographs), ("other", radiographs[:1])])


def test_pictures_are_shown_as_a_viewer_does(rows):
    by_title = dict(rows)
    normal, inverse = by_title["film"][0], by_title["film, MONOCHROME1"][0]
    np.testing.assert_allclose(shown(normal), normal.array / 4095)
    np.testing.assert_allclose(shown(inverse), 1 - shown(normal))
    grey = shown(by_title["120 kVp"][0])
    assert grey.min() >= 0 and grey.max() == 1
    assert np.ptp(shown(film())) == 1.0


def test_frontal_films_stand_beside_frontal_views():
    films = [film(view) for view in ("PA", "AP", "RIGHT LATERAL", "")]
    assert films_of("PA", films) == films_of("AP", films) == films[:2]
    assert films_of("LEFT LATERAL", films) == films[2:3] and films_of("", films) == films[3:]


def test_histograms_and_their_overlap(rng):
    middles, share = histogram(np.array([0.1, 0.1, 0.6, 7.0]), (0.0, 1.0), 4)
    np.testing.assert_allclose(middles, [0.125, 0.375, 0.625, 0.875])
    np.testing.assert_allclose(share, [2 / 3, 0, 1 / 3, 0])
    a = rng.random(5000)
    assert histogram_overlap(a, a) == pytest.approx(1.0)
    assert histogram_overlap(a / 2, 0.5 + a / 2) < 0.05
    with_air = np.concatenate([a, np.zeros(9000)])
    assert histogram_overlap(a, with_air) == pytest.approx(1.0), "air does not count"


def test_charts_draw_their_curves_where_the_numbers_are():
    x = np.linspace(-10, 10, 50)
    flat = [Curve("low", x, np.zeros(50), 0), Curve("high", x, np.full(50, 5.0), 1)]
    picture = np.asarray(line_chart(flat, "title", "mm", "unit", (400, 200)))
    assert picture.shape[1] == 400 and picture.shape[0] > 200

    def row_of(color):
        near = np.abs(picture[:200, 100:300].astype(int) - np.array(color)).sum(axis=2) < 60
        return float(np.argwhere(near)[:, 0].mean())

    low, high = row_of((86, 180, 233)), row_of((230, 159, 0))
    assert high < 45 and 145 < low < 160, "the larger number is higher up"
    with pytest.raises(InputError, match="one or more curves"):
        line_chart([], "t", "x", "y")
    with pytest.raises(InputError, match="finite points"):
        line_chart([Curve("none", x, np.full(50, np.nan))], "t", "x", "y")
