"""What can find the lungs of a CT: bundled and imported networks, the user's lungmask weights, thresholds.

The scene keeps which of them are united, by a key that holds on another computer too; where a file of weights
lies is kept in the settings of this computer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _
from xrecon.nets.lungmask_published import PUBLISHED, TERMS
from xrecon.volume import InputError

from XReconSlicerLib.models import SEGMENTATION, bundledModels, storedModels
from XReconSlicerLib.settings import saveSetting, setting

CLASSICAL = "classical"  # what `--lung-model` calls the thresholds
DEFAULT_KEYS = ("lungs-unet", "lungs-unet-wide")
WEIGHTS_SETTING, WEIGHTS_SUFFIX = "lungWeights", ".pth"


@dataclass(frozen=True)
class LungModel:
    """One line of the panel's list. reference: what `--lung-model` takes; problem: why it cannot be used.

    summary is told below the list, details in the line's tooltip.
    """

    key: str
    reference: str
    title: str
    summary: str
    details: str
    problem: str = ""
    isWeightFile: bool = False


def lungModels() -> list[LungModel]:
    """All that this computer has, networks first."""
    bundled = bundledModels(SEGMENTATION)
    found = [LungModel(m.reference, m.reference, m.title, m.summary, m.details) for m in bundled]
    for model in storedModels(SEGMENTATION):
        key, title = f"stored:{Path(model.reference).name}", model.title + _(" (imported)")
        found.append(LungModel(key, model.reference, title, model.summary, model.details))
    found += [_ofFile(Path(path), digest) for path, digest in _weightFiles().items()]
    thresholds = _("Threshold, airways removed, morphology. Needs no weights; misses dense lung.")
    title = _("Thresholds (no network)")
    return [*found, LungModel(CLASSICAL, CLASSICAL, title, thresholds, thresholds)]


def referencesOf(keys: Sequence[str]) -> list[str]:
    """What `--lung-model` takes for these keys.

    :raises InputError: when there is none, or one is not on this computer.
    """
    if not keys:
        raise InputError(_("Tick a lung model."))
    known = {model.key: model for model in lungModels()}
    for key in keys:
        if key not in known:
            raise InputError(missing(key))
        if known[key].problem:
            raise InputError(known[key].problem)
    return [known[key].reference for key in keys]


def problemWith(keys: Sequence[str]) -> str:
    """Why these keys cannot be used, or ""."""
    try:
        referencesOf(keys)
    except InputError as error:
        return str(error)
    return ""


def missing(key: str) -> str:
    """A sentence on a key of a scene from another computer."""
    return _("The lung model '{key}' is not on this computer: untick it, or add it.").format(key=key)


# ---- the user's files of weights ----------------------------------------------------------------
def addWeights(path: Path) -> LungModel:
    """Remembers a file of lungmask weights; it stays where it is.

    :raises InputError: when it is no such file, or bears the name of a published one without its checksum.
    :raises OSError: when it cannot be read.
    """
    if path.suffix != WEIGHTS_SUFFIX or not path.is_file():
        raise InputError(_("Expected a file of lungmask weights (.pth), got {path}").format(path=path))
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    named = next((each for each in PUBLISHED if each.file == path.name), None)
    if named is not None and not digest.startswith(named.sha256):
        message = _("{file} is damaged or was exchanged: its checksum is not that of lungmask's {name}.")
        raise InputError(message.format(file=path.name, name=named.name))
    files = {place: known for place, known in _weightFiles().items() if known != digest}
    _save({**files, str(path.resolve()): digest})
    return _ofFile(path.resolve(), digest)


def forgetWeights(key: str) -> None:
    """Takes a file of weights off the list; the file itself stays."""
    _save({path: digest for path, digest in _weightFiles().items() if _key(digest) != key})


def _ofFile(path: Path, digest: str) -> LungModel:
    known = next((each for each in PUBLISHED if digest.startswith(each.sha256)), None)
    if known is None:
        title, origin = path.stem, _("Not one of lungmask's published files: it is used as it is.")
    elif len(known.sha256) == len(digest):
        title, origin = f"lungmask {known.name}", _("As published by lungmask: the checksum agrees.")
    else:
        title = f"lungmask {known.name}"
        origin = _("As published by lungmask: the first digits of the checksum agree, more are not known.")
    problem = "" if path.is_file() else _("The weights are not there any more: {path}").format(path=path)
    lines = [problem, origin, f"SHA256 {digest}", TERMS, str(path)]
    details = "\n".join(line for line in lines if line)
    return LungModel(_key(digest), str(path), title + _(" (weight file)"), details, details, problem, True)


def _key(digest: str) -> str:
    return f"weights:{digest[:12]}"


def _weightFiles() -> dict[str, str]:
    """Checksums by path."""
    try:
        return dict(json.loads(setting(WEIGHTS_SETTING, "{}")))
    except ValueError:
        return {}


def _save(files: dict[str, str]) -> None:
    saveSetting(WEIGHTS_SETTING, json.dumps(files))
