"""XReconTrainer: trains X-Recon's networks on your own CTs, scores them and hands them over."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from enum import Enum
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
class CtSource(Enum):
    """Where the CTs come from."""

    FOLDER = 1
    SCENE = 2

    def label(self) -> str:
        """What the panel's selector shows."""
        return {CtSource.FOLDER: _("a folder"), CtSource.SCENE: _("volumes of the scene")}[self]


@parameterNodeWrapper
class XReconTrainerParameterNode:
    """What the panel shows. Folders and device belong to the computer and are kept in its settings."""

    source: CtSource = CtSource.FOLDER
    sceneVolumes: list[slicer.vtkMRMLScalarVolumeNode]
    recipe: str = "lifting"
    settings: str = "{}"  # JSON object: settings that differ from the recipe's, by dotted name
    useStore: bool = False
    detectorPixels: Annotated[int, WithinRange(8, 4096)] = 512
    drrViews: str = "PA, LEFT LATERAL"
    drrSourceToDetectorMm: Annotated[float, WithinRange(500, 5000)] = 1800.0
    drrSourceToIsocenterMm: Annotated[float, WithinRange(300, 4900)] = 1500.0
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
        self.logic = self.jobPanel = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self) -> None:
        """Builds the panel when it is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from XReconSlicerLib.panel import JobPanel, connectDeviceCombo, connectFolderEdit
        from XReconSlicerLib.parameters import observeScene
        from XReconSlicerLib.run_view import RunView
        from XReconSlicerLib.settings_table import SettingsTable
        from XReconSlicerLib.studies import CtChoice, StudiesTable
        from XReconSlicerLib.training_geometry import GeometryBox

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
        self.ui.outputFolderEdit.connect("currentPathChanged(QString)", self._onRunChosen)
        self.ui.sceneSelector.connect("checkedNodesChanged()", self._onVolumesChecked)
        self.ctChoice = CtChoice(self.ui)
        self.studiesTable = StudiesTable(self.ui)
        self.settingsTable = SettingsTable(self.ui.settingsTable, self.ui.recipeComboBox)
        self.settingsTable.changed.connect(self._onSettingsChanged)
        self.geometryBox = GeometryBox(self.ui)
        self.geometryBox.changed.connect(self._onGeometryChanged)
        self.runView = RunView(self.ui)

        observeScene(self)
        for button, slot in (
            (self.ui.scanButton, self.onScanButton),
            (self.ui.applyButton, functools.partial(self.train, False)),
            (self.ui.resumeButton, functools.partial(self.train, True)),
            (self.ui.followButton, self.follow),
            (self.ui.radiographsButton, self.onRadiographsButton),
            (self.ui.evaluateButton, self.onEvaluateButton),
            (self.ui.exportButton, self.onExportButton),
            (self.ui.useButton, self.onUseButton),
        ):
            button.connect("clicked(bool)", slot)
        self.jobPanel = JobPanel(self.ui)
        self.jobPanel.stateChanged.connect(self._update)
        self.initializeParameterNode()
        self._onRunChosen()

    def cleanup(self) -> None:
        """Ends what still runs when the application closes or the module is reloaded, but a training."""
        if self.jobPanel:  # None when `setup` has failed
            self.runView.leave(self.jobPanel)
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

    def _onGeometryChanged(self, changes: dict) -> None:
        before = json.loads(self._parameterNode.settings)
        self._onSettingsChanged(self._parameterNode.recipe, self.settingsTable.merged(before, changes))

    def _onVolumesChecked(self) -> None:
        if self._parameterNode:
            self._parameterNode.sceneVolumes = list(self.ui.sceneSelector.checkedNodes())

    def _onRunChosen(self, *_arguments: object) -> None:
        """Shows what the run folder holds; leaves the training of another, follows the one at work in it."""
        from XReconSlicerLib.detached_run import runsIn
        from XReconSlicerLib.install import missingPackages

        folder = self.ui.outputFolderEdit.currentPath
        self.runView.leave(self.jobPanel)
        self.runView.showRun(folder)
        if runsIn(folder) and not self.jobPanel.isRunning and not missingPackages():
            self.follow()

    def _update(self, *_arguments: object) -> None:
        """Enables what can be used now; the tooltips say what is missing."""
        from XReconSlicerLib import training

        parameters, ui = self._parameterNode, self.ui
        if not parameters:
            return
        isScene = parameters.source == CtSource.SCENE
        self.ctChoice.show(isScene, parameters.sceneVolumes)
        settingsProblem = self.settingsTable.show(parameters.recipe, json.loads(parameters.settings))
        self.geometryBox.show(self.settingsTable.values())
        ui.settingsLabel.text = settingsProblem
        ui.settingsLabel.visible = bool(settingsProblem)
        output = Path(ui.outputFolderEdit.currentPath)
        state = training.RunFolder(output if ui.outputFolderEdit.currentPath else None)
        busy = _("Something is running.") if self.jobPanel.isRunning else ""
        data, pairs = self.ctChoice.problem(isScene), state.storeProblem if parameters.useStore else ""
        model = "" if training.hasModel(ui.modelFolderEdit.currentPath) else _("Choose a model folder.")
        formats = "" if self.logic.formatsOf(parameters) else _("Choose a format.")
        trains = (busy, pairs or ("" if parameters.useStore else data), state.problem, settingsProblem)
        for button, problems, ready in (
            (
                ui.scanButton,
                (busy, data, state.problem if isScene else ""),
                _("Read every CT and say what is wrong with it"),
            ),
            (ui.applyButton, (*trains, state.freshProblem), _("Train from the beginning")),
            (ui.resumeButton, (*trains, state.resumeProblem), _("Go on with the run")),
            (ui.followButton, (busy, state.problem, state.followProblem), _("Show how the training goes on")),
            (ui.radiographsButton, (busy, data, state.problem, formats), _("Project every CT of the folder")),
            (ui.evaluateButton, (busy, data, state.problem, model), _("Score the model on the CTs")),
            (ui.exportButton, (model,), _("Copy the model")),
            (ui.useButton, (model,), _("Choose the model in XReconSlicer; list a lung model in PTXSeg")),
        ):
            problem = next((each for each in problems if each), "")
            button.enabled = not problem
            button.toolTip = problem or ready

    def _data(self) -> Path:
        return self.ctChoice.folder(self._parameterNode.source == CtSource.SCENE, self._output())

    def _output(self) -> Path:
        return Path(self.ui.outputFolderEdit.currentPath)

    def onScanButton(self, _clicked: bool = False) -> None:
        """Reads every CT in the background and lists what was found."""
        self.jobPanel.run(lambda: self.studiesTable.scan(self._data()), self.studiesTable.show)

    def train(self, resume: bool, _clicked: bool = False) -> None:
        """Starts or resumes the training, in a process that goes on when Slicer is closed."""
        from XReconSlicerLib import training

        parameters, output = self._parameterNode, self._output()
        changes = {**json.loads(parameters.settings), "device": self.ui.deviceComboBox.currentData}

        def prepare() -> object:
            data = training.storeOf(output) if parameters.useStore else self._data()
            table = None if parameters.useStore else self.studiesTable.use.tableFor(data, output, resume)
            return training.trainingRun(data, output, parameters.recipe, changes, resume, table)

        self._watch(prepare)

    def follow(self, _clicked: bool = False) -> None:
        """Shows the training that is at work in the run's folder, whoever started it."""
        from XReconSlicerLib.detached_run import DetachedRun

        self._watch(lambda: DetachedRun(self._output()))

    def _watch(self, prepare: Callable[[], object]) -> None:
        from XReconSlicerLib import training
        from XReconSlicerLib.training_results import showTrained

        output = self._output()

        def load(result: dict) -> str:
            self.runView.showRun(str(output))
            return showTrained(self.ui, output / training.MODEL_FOLDER, result["numbers"])

        self.runView.watch(str(output))
        self.jobPanel.run(prepare, load, training.STOP_GRACE_MS)

    def onRadiographsButton(self, _clicked: bool = False) -> None:
        """Projects every CT of the data folder in the background."""
        from XReconSlicerLib import training

        parameters, folder = self._parameterNode, self._output() / training.RADIOGRAPHS_FOLDER
        options = self.logic.radiographOptions(parameters)
        load = functools.partial(training.describeRadiographs, folder)
        self.jobPanel.run(
            lambda: training.radiographsJob(self._data(), folder, options), load, training.GRACE_MS
        )

    def onEvaluateButton(self, _clicked: bool = False) -> None:
        """Scores the model in the background; the figures of each CT become a table of the scene."""
        from XReconSlicerLib import training
        from XReconSlicerLib.training_results import loadEvaluation

        model, device = Path(self.ui.modelFolderEdit.currentPath), self.ui.deviceComboBox.currentData
        load = functools.partial(loadEvaluation, self.ui.resultLabel)

        def prepare() -> object:
            data, output = self._data(), self._output()
            table = self.studiesTable.use.evaluationTable(data, output)
            return training.evaluationJob(model, data, output, device, table)

        self.jobPanel.run(prepare, load, training.GRACE_MS)

    def onExportButton(self, _clicked: bool = False) -> None:
        """Copies the model into a folder of the user's choice."""
        from XReconSlicerLib.panel import exportModel

        exportModel(self.parent, self.ui)

    def onUseButton(self, _clicked: bool = False) -> None:
        """Puts the model among those of XReconSlicer, and chooses it there; a lung model goes to PTXSeg."""
        from XReconSlicerLib.panel import offerModel

        offerModel(self.ui)


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

    def radiographOptions(self, parameters: XReconTrainerParameterNode) -> object:
        """How radiographs are made, as `training.radiographsJob` wants it."""
        from XReconSlicerLib.training import RadiographOptions

        p = parameters
        distances = (p.drrSourceToDetectorMm, p.drrSourceToIsocenterMm)
        return RadiographOptions(
            p.detectorPixels, self.formatsOf(p), p.drrViews, *distances, chestFilm=p.chestFilm
        )

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
