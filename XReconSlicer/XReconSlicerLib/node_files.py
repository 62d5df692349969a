"""The files that volume nodes were loaded from, and whether pictures are the same.

Reading and comparing pictures of 3000 x 2500 pixels takes long enough to be felt in a panel that asks again
at each change. Both are therefore remembered for as long as neither file nor voxels change.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from xrecon.io.radiograph import read_radiograph
from xrecon.io.sidecar import sidecar_path
from xrecon.volume import Radiograph

# Two decoders of one lossy JPEG may differ by a grey value; two pictures correlate far less.
SAME_PICTURE_CORRELATION = 0.999
# Two radiographs, each as its file says and as the user overrides it, and one change more.
MOST_REMEMBERED = 6


class Recent:
    """The results of the latest few computations, by key; an exception is not remembered."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self.most = most
        self._results: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """The result under `key`, computed when it is not known."""
        if key not in self._results:
            self._results[key] = compute()
        self._results.move_to_end(key)
        while len(self._results) > self.most:
            self._results.popitem(last=False)
        return self._results[key]


_radiographs, _likenesses = Recent(), Recent()


def sliceCount(node: slicer.vtkMRMLScalarVolumeNode | None) -> int:
    """Number of pictures in a volume node; 0 for none."""
    image = node.GetImageData() if node is not None else None
    return image.GetDimensions()[2] if image is not None else 0


def filesOf(node: slicer.vtkMRMLScalarVolumeNode, sliceIndex: int) -> Iterator[tuple[Path, int | None]]:
    """Files the slice may have been loaded from, by DICOM instance, then by the storage node; each with the
    number of the picture in it, from 1, when the file holds all pictures of the node."""
    frame = sliceIndex + 1 if sliceCount(node) > 1 else None
    database = getattr(slicer, "dicomDatabase", None)
    instances = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    several = len(instances) == 1 and frame is not None  # a run of frames is one instance
    if database is not None and (several or sliceIndex < len(instances)):
        file = database.fileForInstance(instances[0 if several else sliceIndex])
        if file:
            yield Path(file), frame if several else None
    storage = node.GetStorageNode()
    if storage is not None and storage.GetFileName() and Path(storage.GetFileName()).is_file():
        yield Path(storage.GetFileName()), frame


def fileState(path: Path) -> tuple[Hashable, ...]:
    """What changes when a picture's file or the JSON beside it changes."""
    states = []
    for each in (path, sidecar_path(path)):
        try:
            status = each.stat()
        except OSError:
            states.append(None)
        else:
            states.append((status.st_mtime_ns, status.st_size))
    return str(path), *states


def nodeState(node: slicer.vtkMRMLScalarVolumeNode | None, sliceIndex: int = 0) -> tuple[Hashable, ...]:
    """What changes when the node's voxels, attributes or files do: equal states mean equal radiographs."""
    if node is None:
        return ()
    image = node.GetImageData()
    voxels = 0 if image is None else image.GetMTime()
    return node.GetID(), node.GetMTime(), voxels, *(fileState(path) for path, _ in filesOf(node, sliceIndex))


def readFile(path: Path, **options: Any) -> Radiograph:
    """`read_radiograph(path, **options)`, remembered; the array is the caller's own."""
    key = (fileState(path), tuple(sorted(options.items())))
    found = _radiographs.get(key, lambda: read_radiograph(path, **options))
    return replace(found, array=found.array.copy())


def rememberedLikeness(key: Hashable, found: np.ndarray, shown: np.ndarray) -> int:
    """`likeness`, remembered under a key that changes with the pictures, e.g. of `nodeState`."""
    return _likenesses.get(key, lambda: likeness(found, shown))


def likeness(found: np.ndarray, shown: np.ndarray) -> int:
    """1 when both are one picture up to contrast, turning and mirroring, -1 for its negative, else 0.

    The backend turns a picture whose DICOM tags say that it does not hang as its view should.
    """
    first, second = _standardized(found), _standardized(shown)
    if first is None or second is None:
        return 0
    for turned in (np.rot90(second, quarter) for quarter in range(4)):
        for candidate in (turned, turned[:, ::-1]):
            if candidate.shape != first.shape:
                continue
            correlation = np.vdot(first, candidate) / first.size
            if abs(correlation) > SAME_PICTURE_CORRELATION:
                return 1 if correlation > 0 else -1
    return 0


def _standardized(picture: np.ndarray) -> np.ndarray | None:
    """The picture with mean 0 and standard deviation 1; None for a constant one or one with NaN."""
    values = picture.astype(np.float64)
    deviation = values.std()
    if not (np.isfinite(deviation) and deviation > 0):
        return None
    return (values - values.mean()) / deviation
