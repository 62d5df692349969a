"""`qt` and `ctk` of the stand-in follow PythonQt: what Slicer would refuse is refused here."""

from __future__ import annotations

import sys

import ctk
import pytest
import qt
import slicer
import slicerhost
import vtk
from slicerhost import slotErrors


def test_properties_are_attributes_and_methods_are_not():
    button = qt.QPushButton("Apply")
    assert button.text == "Apply" and button.enabled is True
    button.text = "Stop"
    button.enabled = False
    assert button.text == "Stop" and not button.isEnabled()
    with pytest.raises(TypeError):
        button.text()
    with pytest.raises(AttributeError, match="cannot be written"):
        button.sizeHint = qt.QSize(1, 1)
    combo = qt.QComboBox()
    combo.addItem("first", "data")
    assert (combo.count, combo.currentText, combo.currentData) == (1, "first", "data")


@pytest.mark.parametrize("make", [lambda: qt.QPushButton(), lambda: ctk.ctkSliderWidget()])
def test_widgets_take_no_new_attributes_but_subclasses_do(make):
    widget = make()
    with pytest.raises(AttributeError, match="enable"):
        widget.enable = True

    class Mine(type(widget)):
        def __init__(self) -> None:
            super().__init__()
            self.remembered = 1

    assert Mine().remembered == 1


@pytest.mark.parametrize("name", ["Signal", "Slot", "Property"])
def test_names_only_pyside_has_are_absent(name):
    assert not hasattr(qt, name)


def test_enums_are_integers():
    assert qt.Qt.Checked == 2 and qt.QProcess.NotRunning == 0
    assert isinstance(qt.QMessageBox.Yes | qt.QMessageBox.No, int)


def test_connect_trims_arguments_to_slot_and_signature():
    button, got = qt.QPushButton(), []
    button.connect("clicked(bool)", lambda checked: got.append(checked))
    button.connect("clicked(bool)", lambda: got.append("none"))
    button.connect("clicked()", lambda *arguments: got.append(arguments))
    button.clicked.connect(lambda: got.append("attribute"))
    button.click()
    assert got == [False, "none", (), "attribute"]


def test_connect_to_a_method_of_a_widget():
    spinBox, bar, label = qt.QSpinBox(), qt.QProgressBar(), qt.QLabel()
    spinBox.connect("valueChanged(int)", bar.setValue)
    spinBox.connect("valueChanged(int)", label.clear)
    label.text = "before"
    spinBox.value = 42
    assert bar.value == 42 and label.text == ""


def test_disconnect_ends_one_or_all_connections():
    button, got = qt.QPushButton(), []

    def first() -> None:
        got.append(1)

    button.connect("clicked()", first)
    button.connect("clicked()", lambda: got.append(2))
    assert button.disconnect("clicked()", first)
    assert not button.disconnect("clicked()", first)
    button.click()
    assert button.disconnect("clicked()")
    button.click()
    assert got == [2]


def test_unknown_and_ambiguous_signals_are_refused():
    with pytest.raises(ValueError, match="pressed"):
        qt.QPushButton().connect("pressed(bool)", print)
    selector = slicer.qMRMLNodeComboBox()
    with pytest.raises(ValueError, match="nodeChanged"):
        selector.connect("nodeChanged(vtkMRMLNode*)", print)
    with pytest.raises(AttributeError, match="overloads"):
        selector.currentNodeChanged.connect(print)
    with pytest.raises(ValueError, match="cannot be called"):
        qt.QPushButton().connect("clicked()", None)


def test_blocked_signals_are_silent_in_stand_ins():
    slider, got = ctk.ctkSliderWidget(), []
    slider.connect("valueChanged(double)", got.append)
    slider.blockSignals(True)
    slider.value = 5
    slider.blockSignals(False)
    slider.value = 6
    assert got == [6.0]


def _raise() -> None:
    raise ZeroDivisionError("in a slot")


def _throughConnect() -> None:
    button = qt.QPushButton()
    button.connect("clicked(bool)", _raise)
    button.click()


def _throughSignalAttribute() -> None:
    button = qt.QPushButton()
    button.clicked.connect(_raise)
    button.click()


def _throughTimer() -> None:
    qt.QTimer.singleShot(0, _raise)
    slicerhost.wait_until(lambda: slotErrors, timeout=5)


def _throughObserver() -> None:
    observed = vtk.vtkObject()
    observed.AddObserver("ModifiedEvent", lambda caller, event: _raise())
    observed.Modified()


@pytest.mark.parametrize("run", [_throughConnect, _throughSignalAttribute, _throughTimer, _throughObserver])
def test_exceptions_without_a_caller_are_recorded(run, capsys):
    run()
    assert [type(error) for error in slotErrors] == [ZeroDivisionError]
    slotErrors.clear()


def test_timer_has_static_and_property_of_the_same_name():
    timer, got = qt.QTimer(), []
    timer.singleShot = True
    timer.connect("timeout()", lambda: got.append("timeout"))
    timer.start(1)
    slicerhost.wait_until(lambda: got, timeout=5)
    assert timer.singleShot and not timer.active and got == ["timeout"]


def test_process_output_arrives_line_by_line():
    code = "import os; [print(os.environ['PLACE'], i, flush=True) for i in range(3)]; print('Größe'); exit(7)"
    process, lines, ends = qt.QProcess(), [], []
    environment = qt.QProcessEnvironment.systemEnvironment()
    environment.insert("PLACE", "child")
    environment.insert("PYTHONIOENCODING", "utf-8")
    process.setProcessEnvironment(environment)
    process.setProcessChannelMode(qt.QProcess.MergedChannels)
    process.connect(
        "readyReadStandardOutput()",
        lambda: lines.append(process.readAllStandardOutput().data().decode("utf-8")),
    )
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ends.append((code, status)))
    process.start(sys.executable, ["-c", code])
    slicerhost.wait_until(lambda: ends, timeout=30)
    assert "".join(lines).split("\n") == ["child 0", "child 1", "child 2", "Größe", ""]
    assert ends == [(7, qt.QProcess.NormalExit)] and process.state() == qt.QProcess.NotRunning
    assert process.readAllStandardOutput().data() is None  # PythonQt's empty QByteArray


def test_process_that_cannot_start_says_so():
    process, errors = qt.QProcess(), []
    process.connect("errorOccurred(QProcess::ProcessError)", errors.append)
    process.start("/no/such/program", [])
    slicerhost.wait_until(lambda: errors, timeout=10)
    assert errors == [qt.QProcess.FailedToStart]


def test_settings_are_empty_and_isolated():
    settings = qt.QSettings()
    assert settings.allKeys() == [] and settings.fileName().startswith(slicer.app.temporaryPath)
    settings.setValue("XRecon/device", "cpu")
    assert qt.QSettings().value("XRecon/device") == "cpu"
    assert slicer.util.settingsValue("XRecon/missing", 3, converter=int) == 3


def test_modal_dialogs_need_a_queued_answer():
    with pytest.raises(slicerhost.ModalDialogError, match="really"):
        qt.QMessageBox.question(None, "Title", "really?")
    slicerhost.answer(qt.QMessageBox.No, "/data/ct.nrrd")
    assert qt.QMessageBox.question(None, "Title", "really?") == qt.QMessageBox.No
    assert qt.QFileDialog.getOpenFileName(None, "Open") == "/data/ct.nrrd"  # one value, not a tuple
    box = ctk.ctkMessageBox()
    box.text = "Stop?"
    slicerhost.answer(qt.QMessageBox.Ok)
    assert box.exec_() == qt.QMessageBox.Ok
    assert [dialog.text for dialog in slicerhost.opened][-1] == "Stop?"


def test_opening_an_address_is_recorded_only():
    qt.QDesktopServices.openUrl(qt.QUrl("https://example.org/"))
    assert slicerhost.opened[-1].text == "https://example.org/"


def test_wait_until_gives_up():
    with pytest.raises(TimeoutError):
        slicerhost.wait_until(lambda: False, timeout=0.05)


def test_disabled_widgets_cannot_be_clicked():
    button = qt.QPushButton()
    button.enabled = False
    with pytest.raises(AssertionError, match="disabled"):
        slicerhost.click(button)


def test_complaints_of_qt_are_recorded():
    widget = qt.QWidget()
    first, second = qt.QVBoxLayout(widget), qt.QVBoxLayout(widget)
    assert "already has a layout" in slicerhost.qtWarnings[0] and first is not second
    slicerhost.qtWarnings.clear()
