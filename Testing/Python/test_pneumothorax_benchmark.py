"""The table of PTX-Seg: its cases, thick slices, rows kept on disk, groups and verdicts. Measures nothing."""

from __future__ import annotations

import numpy as np
import pneumothorax as benchmark
import pytest
from pneumothorax_benchmark import acceptance, cases, tables
from pneumothorax_benchmark.making import Made, thick
from pneumothorax_benchmark.measuring import figures, mode_parameters, settings_hash
from pneumothorax_benchmark.store import Rows
from xrecon.volume import Quantity, Volume


def row(case, mode, **measures):
    given = {
        "truth_ml": 0.0, "found_ml": 0.0, "ml_error": 0.0, "false_ml": 0.0, "dice": None, "hd95_mm": None,
        "asd_mm": None, "occupancy_error": 0.0,
    } | measures  # fmt: skip
    return {"case": case.name, "mode": mode, "hash": "0", **case.settings(), **given}


def test_the_list_covers_what_it_shall():
    every = cases.all_cases()
    assert len(every) >= 200 and len({c.name for c in every}) == len(every)
    assert every == cases.all_cases()
    development, held_out = cases.chosen("development"), cases.chosen("held-out")
    assert len(development) + len(held_out) == len(every)
    assert {c.subject for c in held_out} == set(cases.HELD_OUT)
    assert not any(c.held_out for c in (*development, *cases.chosen("quick")))
    assert {c.subject for c in every if c.kind == "real"} == set(cases.WITHOUT_PNEUMOTHORAX)
    for some in (development, held_out):
        with_air = [c for c in some if c.kind == "pneumothorax"]
        assert {c.side for c in with_air} == {"right", "left"}
        assert {c.place for c in with_air} == set(cases.PLACES)
        assert {c.slice_mm for c in with_air} == {0.0, 0.7, 3.0, 5.0}
        assert {c.noise_hu for c in some} >= {0.0, 10.0, 20.0, 40.0, 60.0}
        assert {c.kernel for c in some} == set(cases.KERNELS)
        assert any(c.loculated for c in some) and any(c.effusion for c in some)
        assert {c.fraction for c in with_air} >= set(cases.SIZES)


def test_thick_slices_average_the_ct_and_the_shares():
    hu = Volume(np.arange(7.0, dtype=np.float32).repeat(4).reshape(7, 2, 2), (1.5, 1.0, 1.0), (0, 0, 10.0))
    truth = np.ones((7, 2, 2), np.uint8)
    share = np.zeros((7, 2, 2), np.float32)
    share[0], share[1], share[2], share[3] = 1.0, 0.6, 0.0, 0.4
    truth[:2] = 3
    made, labels = thick(hu, hu.with_array(truth, Quantity.LABEL), share, 3)
    np.testing.assert_allclose(made.array[:, 0, 0], [1.0, 4.0])
    np.testing.assert_array_equal(labels.array[:, 0, 0], [3, 1])
    assert made.spacing == (4.5, 1.0, 1.0) and made.origin == (0.0, 0.0, 11.5)
    assert labels.same_grid(made)


def test_figures_of_a_known_difference():
    truth = np.zeros((4, 4, 20), np.uint8)
    truth[1:3, 1:3, 2:12] = 1
    truth[1:3, 1:3, 2:7] = 3
    found = truth.copy()
    found[1:3, 1:3, 6] = 1
    found[1:3, 1:3, 15] = 4
    grid = Volume(np.zeros(truth.shape), (10.0, 10.0, 10.0))
    made = Made(grid, grid.with_array(truth, Quantity.LABEL))
    measured = figures(made, grid.with_array(found, Quantity.LABEL))
    assert measured["truth_ml"] == 20.0 and measured["found_ml"] == 20.0 and measured["ml_error"] == 0.0
    assert measured["false_ml"] == 4.0 and measured["missed_ml"] == 4.0
    assert measured["dice"] == pytest.approx(0.8)
    assert measured["occupancy_error"] == pytest.approx(100.0)  # the left side, where there is none
    nothing = figures(Made(grid, grid.with_array(np.ones_like(truth), Quantity.LABEL)),
                      grid.with_array(np.ones_like(truth), Quantity.LABEL))  # fmt: skip
    assert nothing["dice"] is None and nothing["hd95_mm"] is None and nothing["false_ml"] == 0.0


def test_rows_are_kept_and_a_cut_line_is_left_out(tmp_path):
    case, other = cases.chosen("quick")[:2]
    rows = Rows(tmp_path / "deep" / "rows.jsonl")
    rows.add([row(case, "reference"), row(other, "reference")])
    rows.add([row(case, "reference") | {"hash": "1"}])
    with rows.path.open("a") as file:
        file.write('{"case": "cut o')
    again = Rows(rows.path)
    assert again.has(case.name, "reference", "1") and not again.has(case.name, "reference", "0")
    assert not again.has(case.name, "robust", "1")
    assert [r["case"] for r in again.of([other.name, case.name])] == [other.name, case.name]


def test_the_hash_tells_cases_and_parameters_apart():
    first, second = cases.chosen("quick")[:2]
    parameters = mode_parameters()["reference"]
    base = settings_hash(first, "reference", parameters)
    assert base == settings_hash(first, "reference", parameters)
    assert base != settings_hash(second, "reference", parameters)
    assert base != settings_hash(first, "reference", parameters.model_copy(update={"t_p": -940.0}))


def test_groups_show_medians_and_the_worst():
    plain = [c for c in cases.all_cases() if tables._plain({**c.settings()}) and c.fraction == 0.25][:3]
    rows = [
        row(c, "robust", truth_ml=100.0, ml_error=e, dice=d, hd95_mm=2.0, asd_mm=0.5)
        for c, d, e in zip(plain, (0.9, 0.95, 0.97), (5.0, -9.0, 1.0), strict=True)
    ]
    text = tables.all_tables(rows)
    line = next(x for x in text.splitlines() if x.startswith("| 25 %"))
    assert line.split(" | ")[1:7] == ["robust", "3", "0.950", "0.900", "+1.0", "-9.0"]
    assert "healthy" not in text


def test_verdicts_name_the_worst_case():
    real = next(c for c in cases.all_cases() if c.kind == "real")
    some = [c for c in cases.all_cases() if c.kind == "pneumothorax" and c.fraction == 0.25][:2]
    rows = [row(real, "robust", false_ml=9.0)]
    for case, ours, theirs in zip(some, (0.95, 0.90), (0.90, 0.95), strict=True):
        rows += [
            row(case, "robust", truth_ml=100.0, ml_error=-7.0, dice=ours),
            row(case, "reference", truth_ml=100.0, ml_error=0.0, dice=theirs),
        ]
    lines = acceptance.verdicts(rows).splitlines()

    def about(words):
        return next(x for x in lines if words in x)

    assert about("real CTs").endswith("| reached |") and "9 ml" in about("real CTs")
    assert about("8 % or more: Dice").endswith("| reached |")
    assert about("25 % or more").endswith("| missed |") and some[1].name in about("25 % or more")
    assert "| 2 | 1 | 0.9 " in about("25 % or more")
    assert about("ml error").endswith("| reached |")
    assert about("worse than the reference").endswith("| missed |") and "-0.05" in about("worse than")
    assert about("emphysema").endswith("| not measured |")


def test_the_command_lists_and_refuses(capsys):
    options = benchmark.parse(["--subset", "held-out", "--list"])
    benchmark.run(options)
    assert len(capsys.readouterr().out.splitlines()) == len(cases.chosen("held-out"))
    with pytest.raises(SystemExit):
        benchmark.parse(["--jobs", "0"])
