"""Names of Qt, CTK and Slicer that the modules may use, written from the headers and sources named here.

Classes of Qt: those of Qt 5.15 and 6 alike, as PythonQt offers them (properties as attributes, enums of
a class or of `Qt` without scope). Of CTK: `Libs/Widgets/<class>.h`. Of MRML: `Libs/MRML/Widgets/<class>.h`
and `Modules/Loadable/*/Widgets/<class>.h`. `slicer.util`: `Base/Python/slicer/util.py` of Slicer 5.10, the
oldest version that is supported. `slicer.app`: `Base/QTCore/qSlicerCoreApplication.h` and
`Base/QTApp/qSlicerApplication.h`. A name that is missing here is to be looked up there before it is added.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """What a class has beyond its base."""

    base: str = ""
    properties: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    signals: frozenset[str] = frozenset()


def _names(base: str = "", properties: str = "", methods: str = "", signals: str = "") -> Names:
    return Names(base, *(frozenset(text.split()) for text in (properties, methods, signals)))


CLASSES = {
    # ---- Qt: widgets
    "QObject": _names("", "objectName", "connect disconnect blockSignals property setProperty deleteLater"),
    "QWidget": _names(
        "QObject",
        "enabled visible toolTip minimumSize maximumSize maximumHeight minimumHeight sizePolicy styleSheet "
        "palette",
        "show hide setLayout layout isHidden setVisible setEnabled setToolTip update resize",
    ),
    "QAbstractButton": _names(
        "QWidget", "text checkable checked icon", "click setText", "clicked() clicked(bool) toggled(bool)"
    ),
    "QPushButton": _names("QAbstractButton", "", "setMenu"),
    "QCheckBox": _names("QAbstractButton", "tristate", "", "stateChanged(int)"),
    "QComboBox": _names(
        "QWidget",
        "currentIndex currentText currentData count",
        "addItem addItems clear findData findText itemData setItemData removeItem setCurrentIndex",
        "currentIndexChanged(int) currentTextChanged(QString) activated(int)",
    ),
    "QAbstractSpinBox": _names(
        "QWidget", "keyboardTracking specialValueText readOnly text", "", "editingFinished()"
    ),
    "QSpinBox": _names(
        "QAbstractSpinBox", "value minimum maximum singleStep prefix suffix", "setRange", "valueChanged(int)"
    ),
    "QDoubleSpinBox": _names(
        "QAbstractSpinBox",
        "value minimum maximum singleStep prefix suffix decimals",
        "setRange",
        "valueChanged(double)",
    ),
    "QListWidget": _names(
        "QWidget",
        "count currentRow",
        "addItem clear item",
        "itemChanged(QListWidgetItem*) currentRowChanged(int)",
    ),
    "QLabel": _names(
        "QWidget", "text wordWrap pixmap alignment buddy textFormat", "clear setPixmap setText setBuddy"
    ),
    "QLineEdit": _names(
        "QWidget", "text placeholderText readOnly", "clear", "textChanged(QString) editingFinished()"
    ),
    "QPlainTextEdit": _names(
        "QWidget", "plainText readOnly maximumBlockCount", "appendPlainText clear", "textChanged()"
    ),
    "QProgressBar": _names(
        "QWidget", "value minimum maximum format textVisible", "setRange reset", "valueChanged(int)"
    ),
    "QTabWidget": _names(
        "QWidget",
        "currentIndex count",
        "addTab removeTab setTabText tabText widget",
        "currentChanged(int)",
    ),
    "QTableWidget": _names(
        "QWidget",
        "rowCount columnCount",
        "setItem item setCellWidget cellWidget setHorizontalHeaderLabels horizontalHeader "
        "verticalHeader clearContents resizeColumnsToContents setRowCount setCurrentCell",
        "cellChanged(int,int) currentCellChanged(int,int,int,int)",
    ),
    "QByteArray": _names("", "", "data"),
    # ---- Qt: layouts, which have no more than their margins here
    **{
        name: _names("QObject", "leftMargin topMargin rightMargin bottomMargin spacing", "addWidget addRow")
        for name in ("QFormLayout", "QHBoxLayout", "QVBoxLayout", "QGridLayout")
    },
    # ---- CTK
    "ctkCollapsibleButton": _names(
        "QAbstractButton", "collapsed collapsedHeight flat contentsFrameShape", "", "contentsCollapsed(bool)"
    ),
    "ctkPathLineEdit": _names(
        "QWidget",
        "currentPath filters settingKey nameFilters label showBrowseButton showHistoryButton",
        "browse addCurrentPathToHistory setCurrentPath",
        "currentPathChanged(QString) validInputChanged(bool)",
    ),
    "ctkRangeWidget": _names(
        "QWidget",
        "decimals singleStep minimum maximum minimumValue maximumValue prefix suffix tickInterval tracking",
        "setRange setValues",
        "valuesChanged(double,double)",
    ),
    "ctkCollapsibleGroupBox": _names(
        "QWidget", "title flat collapsed collapsedHeight checked", "", "toggled(bool)"
    ),
    # ---- MRML
    "qMRMLWidget": _names("QWidget", "", "setMRMLScene mrmlScene", "mrmlSceneChanged(vtkMRMLScene*)"),
    "qMRMLNodeComboBox": _names(
        "QWidget",
        "currentNodeID nodeTypes showHidden showChildNodeTypes hideChildNodeTypes baseName noneEnabled "
        "addEnabled removeEnabled editEnabled renameEnabled selectNodeUponCreation noneDisplay",
        "currentNode setCurrentNode setCurrentNodeID addNode nodeCount setMRMLScene addAttribute",
        "currentNodeChanged(vtkMRMLNode*) currentNodeChanged(bool) currentNodeIDChanged(QString) "
        "nodeActivated(vtkMRMLNode*) nodeAddedByUser(vtkMRMLNode*)",
    ),
    "qMRMLCheckableNodeComboBox": _names(
        "QWidget",
        "nodeTypes showHidden showChildNodeTypes hideChildNodeTypes addEnabled removeEnabled",
        "checkedNodes setCheckState checkState setMRMLScene nodeCount nodeFromIndex",
        "checkedNodesChanged()",
    ),
    "qMRMLTableView": _names(
        "QWidget",
        "transposed firstRowLocked firstColumnLocked",
        "setMRMLTableNode mrmlTableNode setMRMLScene",
    ),
    "qMRMLSegmentsTableView": _names("QWidget", "readOnly", "setSegmentationNode setMRMLScene"),
    "qMRMLSegmentationShow3DButton": _names("QPushButton", "locked", "setSegmentationNode segmentationNode"),
}

# Names of `qt` that are no widgets, each with what is used of it.
QT = {
    "QBrush": "",
    "QByteArray": "data",
    "QColor": "",
    "QDesktopServices": "openUrl",
    "QFileDialog": "getExistingDirectory getOpenFileName getSaveFileName",
    "QListWidgetItem": "checkState setCheckState setToolTip",
    "QPixmap": "isNull loadFromData scaledToWidth width",
    "QProcess": "CrashExit FailedToStart NotRunning Running start state",
    "QProcessEnvironment": "systemEnvironment insert value",
    "QSettings": "value setValue remove",
    "QTableWidgetItem": "text setFlags setToolTip setForeground",
    "QTimer": "singleShot start stop",
    "QUrl": "fromLocalFile",
    "Qt": "ItemIsEnabled ItemIsSelectable ToolTipRole Checked Unchecked SmoothTransformation "
    "WaitCursor Vertical Horizontal",
}
QT_SIGNALS = frozenset(
    "errorOccurred(QProcess::ProcessError) finished(int,QProcess::ExitStatus) readyReadStandardError() "
    "readyReadStandardOutput() timeout()".split()
)

APP = frozenset(
    "connect disconnect layoutManager processEvents temporaryPath testingEnabled commandOptions "
    "applicationVersion majorVersion minorVersion userSettings settings".split()
)
APP_SIGNALS = frozenset(("startupCompleted()", "aboutToQuit()"))

UTIL = frozenset(
    "NodeModify VTKObservationMixin WaitCursor addVolumeFromArray arrayFromModelPoints "
    "arrayFromSegmentBinaryLabelmap arrayFromTableColumn arrayFromVTKMatrix arrayFromVolume "
    "arrayFromVolumeModified childWidgetVariables confirmOkCancelDisplay confirmYesNoDisplay errorDisplay "
    "exportNode findChild getModuleLogic getModuleWidget getNode getNodes getNodesByClass infoDisplay "
    "loadNodeFromFile "
    "loadSegmentation loadUI loadVolume mainWindow modulePath pip_install plot reloadScriptedModule "
    "resetSliceViews resetThreeDViews saveNode saveScene selectModule setSliceViewerLayers settingsValue "
    "showStatusMessage tempDirectory toBool tryWithErrorDisplay updateSegmentBinaryLabelmapFromArray "
    "updateTableFromArray updateVolumeFromArray vtkMatrixFromArray warningDisplay".split()
)
# Newer than Slicer 5.10: the host takes them away.
NEWER_UTIL = ("LazyImport", "executePythonModule", "lazy_import")

# Python layer of Slicer beside `slicer.util`. `slicer.packaging` is there since 5.12; its users ask first.
LAYER = {
    "ScriptedLoadableModule": "ScriptedLoadableModule ScriptedLoadableModuleLogic ScriptedLoadableModuleTest "
    "ScriptedLoadableModuleWidget",
    "i18n": "tr translate",
    "packaging": "pip_install pip_ensure pip_check",
    "parameterNodeWrapper": "Choice Decimals Default Maximum Minimum SingleStep WithinRange "
    "parameterNodeWrapper parameterPack",
}


def membersOf(cls: str) -> frozenset[str]:
    """Properties and methods of a class of the table and its bases."""
    names = CLASSES[cls]
    inherited = membersOf(names.base) if names.base else frozenset()
    return names.properties | names.methods | inherited


def signalsOf(cls: str) -> frozenset[str]:
    """Signals of a class of the table and its bases."""
    names = CLASSES[cls]
    return names.signals | (signalsOf(names.base) if names.base else frozenset())
