"""Base classes of scripted modules, written from Slicer's documentation of them."""

from __future__ import annotations

import importlib
import logging
import os
import unittest

import qt
import slicer
import slicer.util

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
    "importlib",
    "logging",
    "os",
    "qt",
    "slicer",
    "unittest",
]


def _resourcePath(moduleName: str, filename: str) -> str:
    return os.path.join(os.path.dirname(slicer.util.modulePath(moduleName)), "Resources", filename)


class ScriptedLoadableModule:
    """What the module manager knows about a module; `parent` is the C++ module."""

    def __init__(self, parent: object) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""
        parent.hidden = False
        icons = os.path.join(os.path.dirname(parent.path), "Resources", "Icons", self.moduleName)
        icon = next((icons + suffix for suffix in (".svg", ".png") if os.path.isfile(icons + suffix)), None)
        if icon:
            parent.icon = qt.QIcon(icon)
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        """Absolute path of a file in the module's Resources folder."""
        return _resourcePath(self.moduleName, filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        """HTML paragraph that links to the documentation page."""
        url = slicer.app.moduleDocumentationUrl(docPage or self.moduleName)
        return f'<p>For more information see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **kwargs: object) -> object:
        """Run the module's own test class."""
        script = importlib.import_module(self.moduleName)
        test = getattr(script, self.moduleName + "Test")()
        test.messageDelay = msec
        return test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """The panel of a module; `parent` is the C++ panel, `layout` its vertical layout."""

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue(
            "Developer/DeveloperMode", False, converter=slicer.util.toBool
        )
        if parent is None:
            parent = slicer.qMRMLWidget()
            parent.setLayout(qt.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, filename: str) -> str:
        """Absolute path of a file in the module's Resources folder."""
        return _resourcePath(self.moduleName, filename)

    def setup(self) -> None:
        """Build the panel; in developer mode the section «Reload & Test» comes first."""
        if self.developerMode:
            self.setupDeveloperSection()

    def setupDeveloperSection(self) -> None:
        """Buttons for developers."""
        import ctk

        self.reloadCollapsibleButton = ctk.ctkCollapsibleButton()
        self.reloadCollapsibleButton.text = "Reload & Test"
        self.layout.addWidget(self.reloadCollapsibleButton)
        row = qt.QHBoxLayout(self.reloadCollapsibleButton)
        self.reloadButton = qt.QPushButton("Reload")
        self.reloadButton.connect("clicked()", self.onReload)
        self.reloadAndTestButton = qt.QPushButton("Reload and Test")
        self.reloadAndTestButton.connect("clicked()", self.onReloadAndTest)
        row.addWidget(self.reloadButton)
        row.addWidget(self.reloadAndTestButton)

    def enter(self) -> None:
        """The user comes to the module."""

    def exit(self) -> None:
        """The user leaves the module."""

    def cleanup(self) -> None:
        """The panel is about to be destroyed."""

    def onReload(self) -> object:
        """Import the module file again and rebuild the panel."""
        return slicer.util.reloadScriptedModule(self.moduleName)

    def onReloadAndTest(self, **kwargs: object) -> None:
        """Reload, then run the module's tests."""
        with slicer.util.tryWithErrorDisplay("Reload and Test failed."):
            self.onReload()
            slicer.selfTests[self.moduleName](**kwargs)


class ScriptedLoadableModuleLogic:
    """Computation of a module, without widgets; its parameters live in a node of the scene."""

    def __init__(self, parent: object = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True
        self.parent = parent

    def getParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        """The module's parameter node, created when the scene has none."""
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        else:
            node = next(iter(self.getAllParameterNodes()), None)
        if node is None:
            return slicer.mrmlScene.AddNode(self.createParameterNode())
        node.SetAttribute("ModuleName", self.moduleName)  # closing the scene takes it from a singleton
        return node

    def getAllParameterNodes(self) -> list[slicer.vtkMRMLScriptedModuleNode]:
        """Parameter nodes of this module in the scene."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        """A parameter node that is not yet in the scene."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Test case of a module: ctest runs each `test_*` method, «Reload and Test» calls `runTest`."""

    def __init__(self, methodName: str = "runTest", *args: object, **kwargs: object) -> None:
        super().__init__(methodName, *args, **kwargs)
        self.messageDelay = 0

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Show a message for a moment; here it goes to the log."""
        logging.info(message)
        slicer.app.processEvents()

    def runTest(self) -> None:
        """Overridden by the module."""
