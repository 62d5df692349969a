"""The CTs of the training panel: what a folder or the scene holds, and what is wrong with each."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from xrecon.io.image import write_volume
from xrecon.volume import InputError

from XReconSlicerLib.jobs import CliJob
from XReconSlicerLib.mrml import volumeFromNode
from XReconSlicerLib.study_use import EXCLUDED, StudyUse, useCombo

# Where volumes of the scene are written for a run; in the run's folder, so that it can be resumed.
SCENE_FOLDER = "cts-of-the-scene"
STUDY, SIZE, SPACING, USE, PROBLEM = range(5)
ROW_PIXELS = 22  # more rows in sight than with Qt's default
# Readable on light and dark backgrounds alike.
BAD_COLOR, DOUBTFUL_COLOR = "#d9534f", "#b87a10"


def scanJob(data: Path) -> CliJob:
    """The job `xrecon scan`: what a folder of CTs holds."""
    return CliJob(["scan", "--data", data])


def writeSceneVolumes(nodes: Sequence[slicer.vtkMRMLScalarVolumeNode], run: Path) -> Path:
    """Writes volumes of the scene into the run's folder, a file each; gives the folder that holds them.

    Files that are there already under these names are replaced, others are removed: the folder holds what
    is chosen now.
    :raises InputError: when a node cannot be used, or two have one name.
    """
    named = {fileName(node): node for node in nodes}
    if len(named) != len(nodes):
        raise InputError(_("Expected a name of its own for every CT: rename volumes of the scene."))
    volumes = {name: volumeFromNode(node) for name, node in named.items()}
    folder = run / SCENE_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, volume in volumes.items():
        write_volume(volume, folder / f"{name}.nrrd")
    return folder


def fileName(node: slicer.vtkMRMLNode) -> str:
    """The node's name as a file's name on every system."""
    return re.sub(r"[^\w.-]+", "_", node.GetName() or node.GetID()).strip("._") or node.GetID()


class CtChoice:
    """Where the CTs come from: a folder, or volumes of the scene.

    `ui` has dataFolderEdit and sceneSelector with their labels.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui

    def show(self, isScene: bool, chosen: Sequence[slicer.vtkMRMLNode | None]) -> None:
        """The widgets of one source, and which volumes of the scene are chosen."""
        ui = self.ui
        for widget, wanted in (
            (ui.dataFolderEdit, not isScene),
            (ui.dataFolderEditLabel, not isScene),
            (ui.sceneSelector, isScene),
            (ui.sceneSelectorLabel, isScene),
        ):
            widget.visible = wanted
        wasBlocked = ui.sceneSelector.blockSignals(True)
        for index in range(ui.sceneSelector.nodeCount()):
            node = ui.sceneSelector.nodeFromIndex(index)
            ui.sceneSelector.setCheckState(node, qt.Qt.Checked if node in chosen else qt.Qt.Unchecked)
        ui.sceneSelector.blockSignals(wasBlocked)

    def problem(self, isScene: bool) -> str:
        """What is missing, "" for nothing."""
        if isScene:
            return "" if self.ui.sceneSelector.checkedNodes() else _("Check the volumes of the scene to use.")
        folder = self.ui.dataFolderEdit.currentPath
        return "" if folder and Path(folder).is_dir() else _("Choose a folder with CTs.")

    def folder(self, isScene: bool, run: Path) -> Path:
        """The folder of CTs; volumes of the scene are written into the run's folder first.

        :raises InputError: as `writeSceneVolumes`.
        """
        if isScene:
            return writeSceneVolumes(self.ui.sceneSelector.checkedNodes(), run)
        return Path(self.ui.dataFolderEdit.currentPath)


class StudiesTable:
    """A row for each study: name, size, spacing, use, and what is wrong with it; a sum below.

    `ui` has studiesTable, studiesLabel, remarksLabel (all that is to be said of the current row), and those
    of `CtChoice`: other CTs clear the table.
    """

    def __init__(self, ui: Any) -> None:
        self.table, self.label, self.use = ui.studiesTable, ui.studiesLabel, StudyUse()
        self.remarks = ui.remarksLabel
        table = self.table
        table.columnCount = 5
        table.setHorizontalHeaderLabels([_("Study"), _("Size"), _("Spacing (mm)"), _("Use"), _("Problem")])
        table.horizontalHeader().stretchLastSection = True
        table.verticalHeader().visible = False
        table.verticalHeader().defaultSectionSize = ROW_PIXELS
        table.connect("currentCellChanged(int,int,int,int)", self._onRow)
        ui.dataFolderEdit.connect("currentPathChanged(QString)", self.clear)
        ui.sceneSelector.connect("checkedNodesChanged()", self.clear)
        self.clear()

    def clear(self, *_arguments: object) -> None:
        """No studies are known."""
        self.use.forget()
        self.table.rowCount = 0
        self.table.visible = self.label.visible = self.remarks.visible = False

    def scan(self, data: Path) -> CliJob:
        """The job whose result `show` takes."""
        self.clear()
        self.use.data = data
        return scanJob(data)

    def show(self, result: Mapping[str, Any]) -> str:
        """Shows the result of `scanJob`; gives a text for the status line."""
        studies = result["numbers"]["studies"]
        self.use.studies = studies
        self.use.combos = [useCombo(study, self._sum) for study in studies]
        self.table.rowCount = len(studies)
        self.table.visible = True
        self.table.setFixedHeight(44 + ROW_PIXELS * min(max(len(studies), 2), 8))
        for row, study in enumerate(studies):
            self._showRow(row, study)
        for column in (STUDY, SIZE, SPACING, USE):
            self.table.resizeColumnToContents(column)
        self.label.visible = True
        doubtful = [row for row, study in enumerate(studies) if _remarks(study)]
        if doubtful:
            self.table.setCurrentCell(doubtful[0], STUDY)
        self._sum()
        return _("Looked through.")

    def _sum(self) -> None:
        self.label.text = _summary(self.use.studies, self.use.uses)

    def _onRow(self, row: int, *_others: int) -> None:
        study = self.use.studies[row] if 0 <= row < len(self.use.studies) else None
        remarks = _remarks(study) if study else []
        self.remarks.visible = bool(remarks)
        told = f"{study['name']}: {'; '.join(remarks)}" if remarks else ""
        self.remarks.text = told

    def _showRow(self, row: int, study: Mapping[str, Any]) -> None:
        remarks = _remarks(study)
        texts = {
            STUDY: study["name"],
            SIZE: " × ".join(str(n) for n in study["size"]) if any(study["size"]) else "",
            SPACING: " × ".join(f"{s:.3g}" for s in study["spacing_mm"]) if any(study["spacing_mm"]) else "",
            PROBLEM: "; ".join(remarks) or _("none"),
        }
        color = BAD_COLOR if study["problem"] else DOUBTFUL_COLOR if remarks else ""
        for column, text in texts.items():
            item = qt.QTableWidgetItem(text)
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            item.setToolTip("\n".join([study["path"], *remarks]))
            if color and column == PROBLEM:
                item.setForeground(qt.QBrush(qt.QColor(color)))
            self.table.setItem(row, column, item)
        self.table.setCellWidget(row, USE, self.use.combos[row])


def _remarks(study: Mapping[str, Any]) -> Sequence[str]:
    """Why a study cannot be used, else what is worth a look."""
    return [study["problem"]] if study["problem"] else study["notes"]


def _summary(studies: Sequence[Mapping[str, Any]], uses: Sequence[str]) -> str:
    usable = [study for study in studies if not study["problem"]]
    parts = [
        _("{usable} of {count} can be trained on").format(usable=len(usable), count=len(studies)),
    ]
    leftOut = uses.count(EXCLUDED) - (len(studies) - len(usable))
    if leftOut:
        parts.append(_("{count} left out").format(count=leftOut))
    if "test" in uses:
        parts.append(_("{count} for tests").format(count=uses.count("test")))
    patients = len({study["patient"] for study in usable})
    if patients != len(usable):
        parts.append(_("{count} patients").format(count=patients))
    noted = sum(bool(study["notes"]) for study in usable)
    if noted:
        parts.append(_("{count} are worth a look").format(count=noted))
    if len(usable) == 1:
        parts.append(_("one patient alone cannot be validated on"))
    return "; ".join(parts) + "."
