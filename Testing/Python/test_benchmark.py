"""`xrecon benchmark`: its plan, its cases, what it measures, and a whole run of small methods."""

from __future__ import annotations

import csv
import inspect
import json
import multiprocessing
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trunk import trunk
from xrecon.benchmark import MINUTES, command
from xrecon.benchmark import cases as cases_module
from xrecon.benchmark import run as run_module
from xrecon.benchmark.cases import AIR_SUFFIX, load_cases, make_cases
from xrecon.benchmark.command import benchmark
from xrecon.benchmark.measure import correlations, measure, ptx_figures
from xrecon.benchmark.methods import CONTROLS, all_methods, kind_of, recipe_config, untrained
from xrecon.benchmark.plan import Plan, choose_split, fix_plan, make_plan, read_plan
from xrecon.benchmark.run import read_result, result_path, run_in_process, run_safely
from xrecon.benchmark.table import FIGURES, flat_rows, markdown, summary
from xrecon.io.image import write_volume
from xrecon.nets.registry import load_card, model_folder
from xrecon.training.subjects import Subject, find_subjects
from xrecon.volume import InputError

MEAN, NEAREST = CONTROLS
IMAGE_FIGURES = list(FIGURES.values())[:9]
SMALL = {
    "pneumothorax_variants": 0,
    "validate_every": 2,
    "options": {"view_widths": [4, 4, 8], "grid_widths": [4, 8, 8, 8]},
    "precision": "float32",
}
SETTINGS = {"side": 16, "steps": 2, "device": "cpu", "lungs": "classical", "settings": SMALL}


def silent(*_: object) -> None:
    """Progress for nobody."""


def stopped(*_: object) -> None:
    """What a user does at this place."""
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four CTs of trunks."""
    folder = tmp_path_factory.mktemp("cts")
    for seed in range(4):
        write_volume(trunk(seed), folder / f"person{seed}.nrrd")
    return folder


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """A plan and its projected cases: two patients to train on, two to test on."""
    folder = tmp_path_factory.mktemp("benchmark")
    plan = make_plan(
        methods=(MEAN,),
        train=("person0", "person1"),
        test=("person2", "person3"),
        side=16,
        device="cpu",
        lungs="classical",
    )
    fix_plan(plan, folder)
    assert make_cases(plan, find_subjects(data), folder, silent) == {}
    return plan, folder


# -- plan ----------------------------------------------------------------------------------------
def subject(name: str, patient: str = "", split: str = "") -> Subject:
    return Subject(name, Path(name), patient or name, split)


def test_no_patient_is_trained_and_tested_on():
    subjects = [subject("a1", "a"), subject("a2", "a"), subject("b"), subject("c")]
    assert choose_split(subjects, ["a1"]) == (("b", "c"), ("a1",))
    subjects[2] = replace(subjects[2], split="test")
    assert choose_split(subjects, None) == (("a1", "a2", "c"), ("b",))
    # whom the manifest keeps for testing is not trained on, though others were named now
    assert choose_split(subjects, ["c"]) == (("a1", "a2"), ("c",))


def test_a_split_that_leaves_nothing_is_refused():
    with pytest.raises(InputError, match="--test"):
        choose_split([subject("a"), subject("b")], None)
    with pytest.raises(InputError, match="other patients"):
        choose_split([subject("a1", "a"), subject("a2", "a")], ["a1"])
    with pytest.raises(InputError, match="nobody"):
        choose_split([subject("a")], ["nobody"])


def test_a_plan_stays_but_for_its_methods(tmp_path: Path):
    plan = make_plan(methods=("lifting",), train=("a",), test=("b",))
    fix_plan(plan, tmp_path)
    fix_plan(plan.model_copy(update={"methods": ("lifting", "x-recon")}), tmp_path)
    assert read_plan(tmp_path).methods == ("lifting", "x-recon")
    with pytest.raises(InputError, match="minutes: 60.0 before, 3.0 now"):
        fix_plan(plan.model_copy(update={"minutes": 3.0}), tmp_path)
    with pytest.raises(InputError, match="side: "):
        make_plan(methods=("lifting",), train=("a",), test=("b",), side=20)


def test_a_ct_that_was_exchanged_under_its_name_is_noticed(data: Path, tmp_path: Path, monkeypatch):
    """Stored cases and figures are of the CT that was there before. Only plans are made."""
    folder, output = shutil.copytree(data, tmp_path / "cts"), tmp_path / "out"

    def planned() -> None:
        with pytest.raises(KeyboardInterrupt):
            benchmark(folder, output, [], ["person2"], silent, isolated=False, **SETTINGS)

    monkeypatch.setattr(command, "make_cases", stopped)
    planned()
    planned()  # the same CTs: goes on
    write_volume(trunk(9), folder / "person1.nrrd")
    with pytest.raises(InputError, match="got others under the names person1"):
        benchmark(folder, output, [], ["person2"], silent, isolated=False, **SETTINGS)


def test_the_command_line_has_the_defaults_of_the_plan():
    from xrecon import cli_benchmark

    given = inspect.signature(cli_benchmark.benchmark).parameters
    plan = make_plan(methods=("lifting",), train=("a",), test=("b",))
    for name in ("side", "pneumothorax", "seed"):
        assert given[name].default == getattr(plan, name), name
    assert given["minutes"].default is None and plan.minutes == MINUTES  # None: what the plan says


def test_an_unknown_method_is_refused_with_the_known_ones():
    assert (
        kind_of("lifting") == "recipe"
        and kind_of("lifting-64") == "model"
        and kind_of(NEAREST) == "untrained"
    )
    with pytest.raises(InputError, match=r"mean-volume.*lifting.*lifting-64.*got 'x-recom'"):
        kind_of("x-recom")
    with pytest.raises(InputError, match="got 'lungs'"):  # a recipe, but not of a reconstruction
        kind_of("lungs")


def test_what_is_compared_by_default_needs_no_more_than_cts():
    plan = make_plan(methods=(MEAN,), train=("a",), test=("b",))
    assert {"lifting", "x-recon", "x-ctrsnet", "ear"} <= set(all_methods())
    for name in all_methods():
        if kind_of(name) == "recipe":
            config = recipe_config(name, plan, 2)
            assert config.task == "reconstruction", name
            assert not config.needs_labels or config.segmentation.source == "lungs", name
    assert len(all_methods()) == len(set(all_methods())) and not any("default" in n for n in all_methods())
    with pytest.raises(InputError, match="got 'ear-vertebrae'"):  # wants label maps
        kind_of("ear-vertebrae")


# -- stored figures ------------------------------------------------------------------------------
def test_figures_of_one_model_are_never_taken_for_those_of_another(tmp_path: Path):
    card = (model_folder("lifting-64") / "card.json").read_text(encoding="utf-8")
    models = [tmp_path / place for place in ("first/model", "second/model", "lifting")]
    for number, model in enumerate(models):
        model.mkdir(parents=True)
        model.joinpath("card.json").write_text(card.replace(load_card("lifting-64").sha256, f"{number}" * 64))
    names = ["lifting", *map(str, models)]
    assert len({result_path(tmp_path, name) for name in names}) == 4
    for name in names:  # no plan in the folder, so each stores why it could not be measured
        run_safely(tmp_path, name, silent)
    assert [read_result(tmp_path, name)["name"] for name in names] == names
    card = models[0] / "card.json"
    card.write_text(card.read_text().replace("0" * 64, "a" * 64))  # trained anew
    assert read_result(tmp_path, names[1]) is None and read_result(tmp_path, names[2]) is not None


# -- cases and figures ---------------------------------------------------------------------------
def test_each_test_ct_gives_two_cases_and_training_cts_one(made: tuple[Plan, Path]):
    plan, folder = made
    cases = list(load_cases(folder, plan.test))
    names = [f"person{k}{suffix}" for k in (2, 3) for suffix in ("", AIR_SUFFIX)]
    assert [case.name for case in cases] == names
    assert [case.name for case in load_cases(folder, plan.train)] == ["person0", "person1"]
    assert {case.truth.shape for case in cases} == {(16, 16, 16)}
    assert [r.view for r in cases[0].radiographs] == ["PA", "LEFT LATERAL"]
    healthy, air = cases[0].truth.array, cases[1].truth.array
    assert (air < healthy - 50).sum() > 3  # where lung was, there is air


def test_the_air_that_was_put_in_is_known_exactly(made: tuple[Plan, Path]):
    plan, folder = made
    healthy, air, *_ = load_cases(folder, plan.test)
    exact, meta = air.exact, air.truth.meta
    assert healthy.exact is None and exact.air.shape == air.truth.shape
    lung = {"right": exact.right_lung, "left": exact.left_lung}[meta["side"]]
    share = exact.air.sum() / (exact.air.sum() + lung.sum())
    assert share == pytest.approx(float(meta["fraction"]), abs=0.02)
    # where it is, lung became air; where lung is left on that side, it became denser
    change = air.truth.array.astype(float) - healthy.truth.array
    assert change[exact.mask].mean() < -50 and change[lung > 0.5].mean() > 50


def test_air_is_measured_against_what_was_put_in(made: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch):
    """PTX-Seg on the truth is no truth: what it misses does not count against a method, nor for it."""
    plan, folder = made
    healthy, air, *_ = load_cases(folder, plan.test)
    blind = replace(air, labels=air.labels.with_array(np.zeros_like(air.labels.array)))
    perfect = air.labels.with_array(np.where(air.exact.mask, 3, 0).astype(np.uint8))
    monkeypatch.setattr(cases_module, "ptx_labels", lambda *_: perfect)
    found = ptx_figures(air.truth, blind)
    assert found["air_dice"] == 1.0 and found["air_hd95_mm"] == 0.0
    assert found["reference_air_ml"] == 0.0 and found["reference_air_dice"] == 0.0
    assert found["truth_air_dice"] == 0.0
    assert found["air_true_ml"] == pytest.approx(air.exact.air.sum() * air.truth.voxel_ml)
    scanned = ptx_figures(healthy.truth, healthy)
    assert scanned["air_dice"] is None and scanned["air_true_ml"] is None
    assert scanned["air_ml"] == found["air_ml"] > 0.0  # air where none was put is still told
    assert found.keys() == scanned.keys() and set(FIGURES.values()) - set(found) <= set(IMAGE_FIGURES)


def test_a_case_without_its_labels_is_made_again(made: tuple[Plan, Path], data: Path, tmp_path: Path):
    plan, folder = made
    again = shutil.copytree(folder, tmp_path / "again")
    (again / "labels" / f"person3{AIR_SUFFIX}.npz").unlink()  # killed before it was written
    make_cases(plan, find_subjects(data), again, silent)
    first, second = (list(load_cases(place, ["person3"]))[1] for place in (folder, again))
    assert np.array_equal(first.exact.air, second.exact.air)


def test_cases_are_made_once(made: tuple[Plan, Path], data: Path):
    plan, folder = made
    before = {p: p.stat().st_mtime_ns for p in (folder / "cases").rglob("*.npz")}
    make_cases(plan, find_subjects(data), folder, silent)
    assert before == {p: p.stat().st_mtime_ns for p in (folder / "cases").rglob("*.npz")}


def test_the_nearest_subject_of_a_training_patient_is_that_patient(made: tuple[Plan, Path]):
    plan, folder = made
    method = untrained(NEAREST, plan, folder)
    for case in load_cases(folder, plan.train):
        found = method(case.radiographs)
        assert np.array_equal(found.array, case.truth.array)
        np.testing.assert_allclose(found.origin, case.truth.origin, atol=1e-3)


def test_the_mean_volume_is_the_mean(made: tuple[Plan, Path]):
    plan, folder = made
    first, second = (case.truth.array for case in load_cases(folder, plan.train))
    case = next(iter(load_cases(folder, plan.test)))
    mean = untrained(MEAN, plan, folder)(case.radiographs)
    np.testing.assert_allclose(mean.array, (first + second.astype(float)) / 2.0, atol=1e-2)


def test_a_method_that_knows_the_truth_is_told_from_one_that_ignores_its_radiographs(made: tuple[Plan, Path]):
    plan, folder = made
    cases = list(load_cases(folder, plan.test))
    truths = {id(case.radiographs): case.truth for case in cases}

    def knowing(radiographs: object) -> object:
        truth = truths[id(radiographs)]
        return truth.with_array(truth.array + np.float32(25.0))

    rows, _ = measure(knowing, cases)
    assert rows[0]["psnr"] == pytest.approx(40.0, abs=0.3)  # 25 of 2500, but for clipped air
    assert all(row["psnr_exchanged"] < row["psnr"] - 1.0 for row in rows)
    rows, _ = measure(untrained(MEAN, plan, folder), cases)
    assert rows[0]["psnr_exchanged"] == pytest.approx(rows[0]["psnr"], abs=1e-6)


def test_two_cts_of_a_patient_are_one_patient(made: tuple[Plan, Path]):
    plan, folder = made
    first, air, second, _ = load_cases(folder, plan.test)
    assert (first.subject, first.patient, air.patient) == ("person2", "person2", "person2")
    same = [replace(first, patient="p"), replace(second, patient="p")]
    method = untrained(MEAN, plan, folder)
    rows, _ = measure(method, same)
    assert [row["patient"] for row in rows] == ["p", "p"]
    # nobody else's radiographs are there to be exchanged, and one patient has no interval
    assert not any("psnr_exchanged" in row for row in rows)
    result = {"name": MEAN, "kind": "untrained", "cases": rows, "correlations": {}}
    assert summary(result)["psnr"].count == 1 and summary(result)["psnr"].low is None
    rows, _ = measure(method, [*same, replace(first, name="other", patient="q")])
    assert all("psnr_exchanged" in row for row in rows)


def test_correlations_need_three_cases_that_differ():
    row = {f"{t}{n}_ml": 1.0 for n in ("right_lung", "left_lung", "air") for t in ("", "reference_")}
    row |= {"occupancy_percent": None, "occupancy_true_percent": 5.0}
    rows = [{**row, "air_ml": v, "air_true_ml": 2.0 * v} for v in (1.0, 2.0, 4.0)]
    rows.append({**row, "air_ml": 50.0, "air_true_ml": None})  # as scanned: does not count
    found = correlations(rows)
    assert found["air_r"] == pytest.approx(1.0)
    assert found["right_lung_r"] is None and found["occupancy_r"] is None


# -- the whole -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def ran(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark of a small network and of one whose options do not exist."""
    output = tmp_path_factory.mktemp("ran")
    chosen = ["lifting", "x-recon"]
    benchmark(data, output, chosen, ["person2", "person3"], silent, isolated=False, **SETTINGS)
    return output


def test_one_table_has_all_methods_and_says_what_failed(ran: Path):
    text = (ran / "benchmark.md").read_text(encoding="utf-8")
    for name in (MEAN, NEAREST, "lifting"):
        assert f"| {name} |" in text
    # the settings are those of `lifting`, so the other network refuses them
    assert "Not measured:" in text and "- x-recon: " in text and "view_widths" in text
    rows = {row["method"]: row for row in csv.DictReader((ran / "benchmark.csv").open())}
    assert rows["lifting"]["steps"] == "2" and float(rows["lifting"]["psnr"]) > 5.0
    assert float(rows["lifting"]["psnr_low"]) < float(rows["lifting"]["psnr"])
    assert rows["x-recon"]["error"] and not rows["x-recon"]["psnr"]
    assert (ran / "benchmark.html").stat().st_size > 10_000 and (ran / "psnr.png").is_file()
    assert (ran / "methods" / "lifting" / "person2.nrrd").is_file()


def test_a_copy_of_a_test_ct_is_not_trained_on(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Only the plan is made: no case is projected, no method run."""
    folder = tmp_path / "cts"
    shutil.copytree(data, folder)
    shutil.copyfile(data / "person2.nrrd", folder / "copy.nrrd")
    monkeypatch.setattr(command, "make_cases", stopped)
    with pytest.raises(KeyboardInterrupt):
        benchmark(folder, tmp_path / "out", [], ["person2"], silent, isolated=False, **SETTINGS)
    assert read_plan(tmp_path / "out").train == ("person0", "person1", "person3")


def test_a_benchmark_needs_nothing_that_windows_lacks(ran: Path, monkeypatch: pytest.MonkeyPatch):
    """No link, which wants a privilege there, and no module `resource`."""
    assert not any(path.is_symlink() for path in ran.rglob("*"))
    assert (ran / "prepared" / "person0.npz").is_file() and (ran / "runs" / "lifting" / "model").is_dir()
    assert not (ran / "runs" / "lifting" / "prepared").exists()
    assert not hasattr(run_module, "resource")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert run_module._peak_gib() is None


def test_a_benchmark_goes_on_with_what_is_missing(ran: Path, data: Path):
    done = {p: p.stat().st_mtime_ns for p in ran.glob("methods/*/result.json") if "x-recon" not in str(p)}
    outcome = benchmark(data, ran, ["lifting"], ["person2", "person3"], silent, **SETTINGS)
    assert done == {p: p.stat().st_mtime_ns for p in done}
    assert [row["method"] for row in outcome.numbers["rows"]] == [MEAN, NEAREST, "lifting"]
    with pytest.raises(InputError, match="steps: 2 before, 3 now"):
        benchmark(data, ran, ["lifting"], ["person2", "person3"], silent, **{**SETTINGS, "steps": 3})


def test_the_table_puts_the_best_first_and_keeps_what_has_no_meaning():
    case = {"case": "a", "subject": "a", "patient": "a", "air": False, "seconds": 1.0, "ssim": 0.5}
    results = [
        {"name": name, "kind": "model", "cases": [{**case, "psnr": psnr}], "correlations": {}}
        for name, psnr in (("worse", 10.0), ("better", 20.0))
    ]
    text = markdown(results)
    assert text.index("| better |") < text.index("| worse |")
    assert "not applicable" in text  # no Dice was measured
    row = json.loads(json.dumps(flat_rows(results)))[0]
    assert row["psnr"] == 10.0 and row["low_and_high_are"] == "none, of one patient"
    for number, words in ((2, "range of two patients"), (3, "95 % t interval")):
        cases = [{**case, "psnr": 9.0 + k, "case": str(k), "patient": str(k)} for k in range(number)]
        assert flat_rows([{**results[0], "cases": cases}])[0]["low_and_high_are"] == words


def test_a_method_has_a_process_of_its_own(ran: Path, data: Path):
    (ran / "methods" / MEAN / "result.json").unlink()
    told: list[str] = []
    result = run_in_process(ran, MEAN, lambda *what: told.append(what[2]))
    assert result["name"] == MEAN and result["cases"] and result["peak_gib"] > 0.05
    assert told and all(message.startswith(f"{MEAN}: ") for message in told)


def test_a_method_ends_with_its_benchmark(ran: Path):
    """Who hears its progress was killed: it computes no further and stores no failure."""
    here, there = multiprocessing.Pipe(duplex=False)
    here.close()
    before = read_result(ran, MEAN)
    with pytest.raises(KeyboardInterrupt, match="was killed"):
        run_module._child(ran, MEAN, there)
    assert read_result(ran, MEAN) == before
