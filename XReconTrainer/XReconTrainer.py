"""XReconTrainer: trains X-Recon's networks on your own CTs, scores them and hands them over."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


#
# XReconTrainer
#
class XReconTrainer(ScriptedLoadableModule):
    """Name, place and description of the module."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "XReconTrainer"
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Informatics")]
        self.parent.dependencies = ["XReconSlicer"]
        self.parent.contributors = ["The XRecon developers"]
        self.parent.helpText = _(
            "Makes radiographs from CTs, trains the networks of XReconSlicer and PTXSeg on a folder of CTs, "
            "scores and exports them. Research software, not a medical device."
        )
        self.parent.acknowledgementText = _(
            "After Wang Y. et al., X-Recon: Learning-based Patient-specific High-Resolution CT "
            "Reconstruction from Orthogonal X-Ray Images. Research software, not a medical device."
        )


#
# XReconTrainerParameterNode
#
@parameterNodeWrapper
class XReconTrainerParameterNode:
    """What the panel shows. Folders and device belong to the computer and are kept in its settings."""

    recipe: str = "lifting"
    settings: str = "{}"  # JSON object: settings that differ from the recipe's, by dotted name
    detectorPixels: Annotated[int, WithinRange(8, 4096)] = 512
    writeDicom: bool = True
    writePng: bool = True
    writeNrrd: bool = False
    writeStore: bool = False
    chestFilm: bool = False


#
# XReconTrainerWidget
#
class XReconTrainerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent: object = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)  # needed for parameter node observation
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self.jobPanel = None

    def setup(self) -> None:
        """Builds the panel when it is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from XReconSlicerLib.panel import JobPanel, connectDeviceCombo, connectFolderEdit
        from XReconSlicerLib.settings_table import SettingsTable

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/XReconTrainer.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = XReconTrainerLogic()
        connectDeviceCombo(self.ui.deviceComboBox)
        for name in ("dataFolder", "outputFolder", "modelFolder"):
            edit = getattr(self.ui, f"{name}Edit")
            connectFolderEdit(edit, f"trainer/{name}")
            edit.connect("currentPathChanged(QString)", self._update)
        self.settingsTable = SettingsTable(self.ui.settingsTable, self.ui.recipeComboBox)
        self.settingsTable.changed.connect(self._onSettingsChanged)

        # These connections ensure that we update parameter node when scene is closed
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        for button, slot in (
            (self.ui.applyButton, functools.partial(self.train, False)),
            (self.ui.resumeButton, functools.partial(self.train, True)),
            (self.ui.radiographsButton, self.onRadiographsButton),
            (self.ui.evaluateButton, self.onEvaluateButton),
            (self.ui.exportButton, self.onExportButton),
            (self.ui.useButton, self.onUseButton),
        ):
            button.connect("clicked(bool)", slot)
        self.jobPanel = JobPanel(self.ui)
        self.jobPanel.stateChanged.connect(self._update)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Ends what still runs when the application closes or the module is reloaded."""
        if self.jobPanel:  # None when `setup` has failed
            self.jobPanel.close()
        self.setParameterNode(None)  # else its connection would outlive the widgets after a reload
        self.removeObservers()

    def enter(self) -> None:
        """Makes sure there is a parameter node when the module is opened."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Stops following the parameter node while the module is not shown."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller: object, event: str) -> None:
        """A training goes on: it needs nothing from the scene."""
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: object, event: str) -> None:
        """Starts anew in the empty scene if the panel is open."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Follows the scene's parameter node."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode: XReconTrainerParameterNode | None) -> None:
        """Connects the panel to a parameter node, so that both always show the same."""
        from XReconSlicerLib.parameters import follow

        follow(self, parameterNode)

    def _onSettingsChanged(self, recipe: str, changes: dict) -> None:
        if self._parameterNode:
            self._parameterNode.recipe = recipe
            self._parameterNode.settings = json.dumps(changes)

    def _update(self, *_arguments: object) -> None:
        """Enables what can be used now; the tooltips say what is missing."""
        from XReconSlicerLib import training

        parameters, ui = self._parameterNode, self.ui
        if not parameters:
            return
        settingsProblem = self.settingsTable.show(parameters.recipe, json.loads(parameters.settings))
        ui.settingsLabel.text = settingsProblem
        busy = _("Something is running.") if self.jobPanel.isRunning else ""
        data = "" if training.isFolder(ui.dataFolderEdit.currentPath) else _("Choose a folder with CTs.")
        output = "" if ui.outputFolderEdit.currentPath else _("Choose the folder of the run.")
        checkpoint = Path(ui.outputFolderEdit.currentPath) / training.CHECKPOINT
        started = "" if checkpoint.is_file() else _("There is no run to resume in the folder.")
        fresh = "" if started else _("The folder holds a run: resume it or choose another folder.")
        model = "" if training.hasModel(ui.modelFolderEdit.currentPath) else _("Choose a model folder.")
        formats = "" if self.logic.formatsOf(parameters) else _("Choose a format.")
        for button, problems, ready in (
            (ui.applyButton, (busy, data, output, settingsProblem, fresh), _("Train from the beginning")),
            (ui.resumeButton, (busy, data, output, settingsProblem, started), _("Go on with the run")),
            (ui.radiographsButton, (busy, data, output, formats), _("Project every CT of the folder")),
            (ui.evaluateButton, (busy, data, output, model), _("Score the model on the CTs")),
            (ui.exportButton, (model,), _("Copy the model")),
            (ui.useButton, (model,), _("Make this the model of the module XReconSlicer")),
        ):
            problem = next((each for each in problems if each), "")
            button.enabled = not problem
            button.toolTip = problem or ready

    def train(self, resume: bool, _clicked: bool = False) -> None:
        """Starts or resumes the training in the background."""
        from XReconSlicerLib import training

        parameters, (data, output) = self._parameterNode, self._folders()
        changes = {**json.loads(parameters.settings), "device": self.ui.deviceComboBox.currentData}

        def load(result: dict) -> str:
            self.ui.modelFolderEdit.currentPath = str(output / training.MODEL_FOLDER)
            self.ui.resultLabel.text = training.describeMetrics(result["numbers"])
            return _("Trained: {folder}").format(folder=output / training.MODEL_FOLDER)

        prepare = functools.partial(training.trainingJob, data, output, parameters.recipe, changes, resume)
        self.jobPanel.run(prepare, load, training.GRACE_MS)

    def onRadiographsButton(self, _clicked: bool = False) -> None:
        """Projects every CT of the data folder in the background."""
        from XReconSlicerLib import training

        (data, output), parameters = self._folders(), self._parameterNode
        pixels, formats = parameters.detectorPixels, self.logic.formatsOf(parameters)
        folder = output / training.RADIOGRAPHS_FOLDER

        def load(result: dict) -> str:
            failed = len(result["numbers"]["failed"])
            text = _("{count} CTs projected into {folder}").format(count=len(result["files"]), folder=folder)
            more = _("; {count} failed, drr.json says why").format(count=failed) if failed else ""
            return text + more

        prepare = functools.partial(
            training.radiographsJob, data, folder, pixels, formats, parameters.chestFilm
        )
        self.jobPanel.run(prepare, load, training.GRACE_MS)

    def onEvaluateButton(self, _clicked: bool = False) -> None:
        """Scores the model in the background."""
        from XReconSlicerLib import training

        (data, output), model = self._folders(), Path(self.ui.modelFolderEdit.currentPath)
        device = self.ui.deviceComboBox.currentData

        def load(result: dict) -> str:
            self.ui.resultLabel.text = training.describeMetrics(result["numbers"])
            return _("Evaluated: {file}").format(file=result["files"]["table"])

        prepare = functools.partial(training.evaluationJob, model, data, output, device)
        self.jobPanel.run(prepare, load, training.GRACE_MS)

    def onExportButton(self, _clicked: bool = False) -> None:
        """Copies the model into a folder of the user's choice."""
        from XReconSlicerLib.panel import exportModel

        exportModel(self.parent, self.ui)

    def onUseButton(self, _clicked: bool = False) -> None:
        """Makes the model the one of XReconSlicer, now or when that is opened."""
        from XReconSlicerLib.panel import offerModel

        self.ui.statusLabel.text = offerModel(self.ui.modelFolderEdit.currentPath)

    def _folders(self) -> tuple[Path, Path]:
        return Path(self.ui.dataFolderEdit.currentPath), Path(self.ui.outputFolderEdit.currentPath)


#
# XReconTrainerLogic
#
class XReconTrainerLogic(ScriptedLoadableModuleLogic):
    """The same for scripts: `XReconTrainerLogic().train("cts", "run", steps=4000)`."""

    def getParameterNode(self) -> XReconTrainerParameterNode:
        """The parameters kept in the scene."""
        return XReconTrainerParameterNode(super().getParameterNode())

    def formatsOf(self, parameters: XReconTrainerParameterNode) -> str:
        """The chosen picture formats as the command line wants them."""
        chosen = {
            "dcm": parameters.writeDicom,
            "png": parameters.writePng,
            "nrrd": parameters.writeNrrd,
            "store": parameters.writeStore,
        }
        return ",".join(name for name, wanted in chosen.items() if wanted)

    def train(
        self,
        dataFolder: str,
        outputFolder: str,
        recipe: str = "lifting",
        resume: bool = False,
        device: str = "auto",
        **settings: object,
    ) -> dict:
        """Trains a model and waits for it.

        :param dataFolder: folder of CTs.
        :param outputFolder: folder of the run; the model is `model` in it.
        :param device: "auto", "cpu" or "cuda".
        :param settings: of the recipe; dotted names as a dictionary: `**{"optimizer.learning_rate": 1e-4}`.
        :return: the files and the metrics.
        :raises RuntimeError: with a sentence that says why it failed.
        """
        from XReconSlicerLib.training import trainingJob

        changes = {**settings, "device": device}
        return trainingJob(Path(dataFolder), Path(outputFolder), recipe, changes, resume).run()

    def evaluate(self, model: str, dataFolder: str, outputFolder: str, device: str = "auto") -> dict:
        """Scores a model on a folder of CTs and waits for it; raises RuntimeError when that fails."""
        from XReconSlicerLib.training import evaluationJob

        return evaluationJob(Path(model), Path(dataFolder), Path(outputFolder), device).run()


#
# XReconTrainerTest
#
class XReconTrainerTest(ScriptedLoadableModuleTest):
    """Runs in Slicer without packages or weights; the rest is tested under Testing/."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_parametersAreKeptInTheScene()

    def test_parametersAreKeptInTheScene(self) -> None:
        """A changed setting is found again by the next user of the scene."""
        XReconTrainerLogic().getParameterNode().detectorPixels = 256
        self.assertEqual(XReconTrainerLogic().getParameterNode().detectorPixels, 256)
