"""The installed extension: all modules open from the tree that Slicer installs, and from nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from extension_build import configure, modules_folder

HOST = Path(__file__).resolve().parent / "host"
REPOSITORY = HOST.parents[2]
SCRIPT = """
import sys
from pathlib import Path
import slicerhost
slicerhost.create()
import slicer
tree = Path(sys.argv[1])
for name in ("PTXSeg", "XReconTrainer", "XReconSlicer"):  # the dependent ones first
    widget = slicerhost.openModule(name)
    module = getattr(slicer.modules, name.lower())
    assert Path(module.path).parent == tree, module.path
    assert not module.icon.isNull() and widget.ui.applyButton.toolTip
    slicer.selfTests[name]()
    slicerhost.closeModule(name)
import xrecon, XReconSlicerLib
from XReconSlicerLib import install, terminology
assert {Path(m.__file__).parent.parent for m in (xrecon, XReconSlicerLib)} == {tree}
assert install.REQUIREMENTS.is_file() and terminology.FILE.is_file()
from XReconSlicerLib.models import RECONSTRUCTION, SEGMENTATION, bundledModels
assert bundledModels(RECONSTRUCTION) and bundledModels(SEGMENTATION)
assert not slicerhost.slotErrors, slicerhost.slotErrors
foreign = [m.__file__ for n, m in sys.modules.items() if n.startswith(("xrecon", "XRecon", "PTXSeg"))]
assert all(Path(file).is_relative_to(tree) for file in foreign), foreign
print("opened")
"""


def test_all_modules_open_from_the_installed_tree(tmp_path: Path) -> None:
    source, build = tmp_path / "source", tmp_path / "build"
    source.mkdir()
    configure(REPOSITORY, source, build)
    tree = modules_folder(build)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (HOST, tree)))}
    environment["PYTHONNOUSERSITE"] = "1"
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tree)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "opened"
