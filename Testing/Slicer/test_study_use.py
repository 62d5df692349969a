"""What each CT is used for, chosen in the trainer's table and told to the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import slicerhost
import tiny_models
from panel_inputs import misbehave
from trainer_panel import data, wait, widget  # noqa: F401 (fixtures)
from trunk import trunk
from xrecon.io.image import write_volume
from xrecon.training.subjects import find_subjects
from xrecon.volume import InputError
from XReconSlicerLib.studies import USE
from XReconSlicerLib.study_use import RUN_TABLE, StudyUse, tableText


def choose(widget: object, name: str, use: str) -> None:  # noqa: F811
    table = widget.ui.studiesTable
    (row,) = [row for row in range(table.rowCount) if table.item(row, 0).text() == name]
    combo = table.cellWidget(row, USE)
    assert combo.enabled
    combo.currentIndex = combo.findData(use)


def arguments(widget: object, button: object) -> list[str]:  # noqa: F811
    slicerhost.click(button)
    wait(widget)
    return json.loads(widget.ui.statusLabel.text)


def test_chosen_uses_reach_training_and_evaluation(
    widget: object,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ui, run, cts = widget.ui, tmp_path / "run", tmp_path / "cts"
    for seed, name in enumerate(("first", "second", "third")):
        write_volume(trunk(seed=seed), cts / f"{name}.nrrd")
    (cts / "damaged.nii.gz").write_bytes(b"no volume")
    ui.dataFolderEdit.currentPath = str(cts)
    slicerhost.click(ui.scanButton)
    wait(widget)
    assert not ui.studiesTable.cellWidget(0, USE).enabled, "a damaged file has no use"
    code = "print('xrecon: error:', json.dumps(sys.argv), file=sys.stderr)\n"
    code += "say(event='error', message=json.dumps(sys.argv)); sys.exit(3)"
    misbehave(monkeypatch, tmp_path, code)
    assert "--split" not in arguments(widget, ui.applyButton), "nothing was chosen"
    choose(widget, "second", "test")
    choose(widget, "third", "exclude")
    assert ui.studiesLabel.text.startswith("3 of 4 can be trained on; 1 left out; 1 for tests")
    slicerhost.screenshot(widget.parent, "panel-xrecontrainer-uses")
    told = arguments(widget, ui.applyButton)
    assert told[told.index("--split") + 1] == str(run / RUN_TABLE)
    used = find_subjects(cts, table=run / RUN_TABLE)
    assert [(each.name, each.split) for each in used] == [("first", ""), ("second", "test")]
    ui.modelFolderEdit.currentPath = str(tiny_models.save_untrained(tmp_path / "model"))
    told = arguments(widget, ui.evaluateButton)
    table = run / "evaluated-subjects.csv"
    assert "evaluate" in told
    assert told[told.index("--split") + 1] == str(table) and told[told.index("--data") + 1] == str(cts)
    assert [(each.name, each.split) for each in find_subjects(cts, table=table)] == [
        ("first", ""), ("second", "test"),
    ]  # fmt: skip
    choose(widget, "second", "")
    choose(widget, "third", "")
    assert "--split" not in arguments(widget, ui.evaluateButton) and not table.exists()
    choose(widget, "third", "exclude")
    (run / "checkpoint.pt").touch()
    choose(widget, "second", "train")
    widget._update()
    assert "--split" in arguments(widget, ui.resumeButton)
    assert find_subjects(cts, table=run / RUN_TABLE)[1].split == "test", "a run keeps its split"
    ui.dataFolderEdit.currentPath = str(tmp_path)
    assert not ui.studiesTable.visible and ui.studiesTable.rowCount == 0, "the choices were for other CTs"


def test_the_folders_own_table_is_kept(tmp_path: Path) -> None:
    (tmp_path / "subjects.csv").write_text("path,licence,split\na.nrrd,CC BY 4.0,test\nb.nrrd,CC0,\n")
    studies = [
        {"path": str(tmp_path / f"{name}.nrrd"), "name": name, "patient": "p, 1"} for name in ("a", "b")
    ]
    text = tableText(studies, ["train", "exclude"], tmp_path)
    assert text.splitlines() == [
        "path,name,patient,split,licence,written_by",
        f'{tmp_path}/a.nrrd,a,"p, 1",train,CC BY 4.0,XReconTrainer',
        f'{tmp_path}/b.nrrd,b,"p, 1",exclude,CC0,XReconTrainer',
    ]


class Chosen:
    """A combo in which the user chose something."""

    currentData = "train"


def chosen(folder: Path) -> StudyUse:
    """One CT of the folder, chosen for training although its files say test."""
    use = StudyUse()
    use.data, use.combos = folder, [Chosen()]  # type: ignore[list-item]
    study = {"name": "a", "patient": "p", "split": "test", "problem": ""}
    use.studies = [{**study, "path": str(folder / "a.nrrd")}]
    return use


@pytest.mark.parametrize("name", ["subjects.csv", RUN_TABLE, "evaluated-subjects.csv"])
def test_the_users_table_survives_a_run_in_the_folder_of_cts(tmp_path: Path, name: str) -> None:
    text, theirs = "path,patient,split\na.nrrd,p,test\n", tmp_path / name
    theirs.write_text(text)
    nothing = StudyUse()
    assert nothing.tableFor(tmp_path, tmp_path) is None, "nothing was looked through"
    assert nothing.evaluationTable(tmp_path, tmp_path) is None
    assert nothing.tableFor(tmp_path, tmp_path, resume=True) is None
    for write, written in (
        (StudyUse.tableFor, RUN_TABLE),
        (StudyUse.evaluationTable, "evaluated-subjects.csv"),
    ):
        if name == written:
            with pytest.raises(InputError, match="did not write"):
                write(chosen(tmp_path), tmp_path, tmp_path)
        else:
            assert write(chosen(tmp_path), tmp_path, tmp_path) == tmp_path / written
            assert "train" in (tmp_path / written).read_text(), "again, over our own"
            assert write(chosen(tmp_path), tmp_path, tmp_path) == tmp_path / written
            assert write(nothing, tmp_path, tmp_path) is None and not (tmp_path / written).exists()
    assert theirs.read_text() == text
