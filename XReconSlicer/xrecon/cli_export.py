"""The command `xrecon export`: its options and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrecon.options import Ct, Output, ProgressOption
from xrecon.outcome import tell
from xrecon.progress import ProgressMode, Reporter


def export(
    ct: Ct,
    output: Output,
    segmentation: Annotated[
        Path | None, typer.Option(help="Segments on the CT's grid: .seg.nrrd, or a DICOM segmentation.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="dicom, nrrd, nii, nii.gz or mha.")] = "dicom",
    patient_from: Annotated[
        Path | None,
        typer.Option(
            help="DICOM file or series whose patient and study a DICOM export takes over. Default: a "
            "placeholder."
        ),
    ] = None,
    progress: ProgressOption = ProgressMode.AUTO,
) -> None:
    """Write a result in another format, with all that is known of its making.

    DICOM goes into a new folder: `ct/` is a CT series (DERIVED, and marked as synthetic where it is),
    `segmentation.dcm` its segments. Identifiers are new; the source images are referred to by theirs. NIfTI
    and MetaImage get a JSON file beside them: model, checksum, sources, views, scores.
    """
    from xrecon import export as exporting

    with Reporter(progress) as report:
        tell(report, exporting.export(ct, output, form, segmentation, patient_from, report))
