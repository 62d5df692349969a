"""The page for users of the Python console is run as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicerhost
from panel_inputs import leftovers, misbehave
from xrecon.pipelines import DEFAULT_MODEL

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "Resources" / "Tutorials" / "PythonConsole.md"
# A coarser phantom, so that the test is quick.
COARSE = (
    "from xrecon import cli, tools\n"
    "tools.PHANTOM_SPACING_MM, tools.PHANTOM_DETECTOR = (6.0, 6.0, 6.0), (96, 96)\n"
    "sys.exit(cli.run(sys.argv[3:]))"
)


def test_the_script_of_the_page_does_the_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("XReconSlicer", "PTXSeg"):
        slicerhost.loadModule(name)
    misbehave(monkeypatch, tmp_path, COARSE)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    console = {"slicer": slicer}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), console)
    said = capsys.readouterr().out
    assert said.splitlines()[:2] == ["Phantom PA", "Phantom lateral"]
    synthetic = console["synthetic"]
    assert synthetic.GetName() == "Synthetic CT of Phantom PA"
    assert synthetic.GetAttribute("XRecon.model") == DEFAULT_MODEL
    assert float(re.search(r"line integrals: ([\d.]+)", said)[1]) < 1.0
    # the process of its own gave what was computed here, but for the crop of one radiograph
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    made = [
        node for node in volumes if node.GetName().startswith("Synthetic CT of") and ":" not in node.GetName()
    ]
    assert len(made) == 2
    first, second = (slicer.util.arrayFromVolume(node) for node in made)
    assert np.abs(first - second).mean() < 10.0
    segments = console["segmentation"].GetSegmentation()
    assert segments.GetNumberOfSegments() == 4
    temporary = Path(slicer.app.temporaryPath)
    assert (temporary / "console.mrb").is_file()
    assert (temporary / "ct-dicom" / "segmentation.dcm").is_file()
    slices = synthetic.GetImageData().GetDimensions()[2]
    assert len(list((temporary / "synthetic-dicom" / "ct").iterdir())) == slices
    assert leftovers() == []


def test_the_page_is_linked_from_the_readme() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for page in ("PythonConsole", "Troubleshooting"):
        assert f"(Resources/Tutorials/{page}.md)" in readme
