"""The test cases, and the training CTs for the controls: radiographs and truth, made once and stored.

Each test CT gives two cases: as scanned (table removed), and with a synthetic pneumothorax, so that
there is pleural air to be found. A case is on the grid of the benchmark, about the isocentre of its
views; its radiographs are projected from the CT at its own resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xrecon import __version__
from xrecon.benchmark.exact import SUFFIX, ExactAir, exact_air, read_exact, write_exact
from xrecon.benchmark.plan import Plan, read_plan
from xrecon.drr.projection import DrrOptions, project
from xrecon.training.store import Store, open_store, source_digest
from xrecon.training.subjects import Subject
from xrecon.volume import InputError, Quantity, Radiograph, Volume

if TYPE_CHECKING:
    from xrecon.pneumothorax.synthesize import SyntheticPneumothorax

CASES, LABELS = "cases", "labels"
AIR_SUFFIX = "+pneumothorax"
# Pictures of 430 mm on twice as many pixels as the networks' usual detector.
DETECTOR = (256, 256)
SIDES = ("right", "left")


@dataclass(frozen=True, eq=False)
class Case:
    """truth: HU on the benchmark's grid. subject: the CT it was made from; patient: whose CT that is.

    air: with a synthetic pneumothorax.
    labels: of PTX-Seg on the truth with the lung model `lungs`; on a training CT all 0. exact: the air
    that was put in; None as scanned, where nobody knows.
    """

    name: str
    subject: str
    patient: str
    air: bool
    truth: Volume
    radiographs: Sequence[Radiograph]
    labels: Volume
    lungs: str
    exact: ExactAir | None = None


def make_cases(
    plan: Plan, subjects: Sequence[Subject], folder: Path, progress: Callable[[str, float, str], None]
) -> dict[str, str]:
    """Projects what the store of `folder` does not hold yet; returns why CTs are left out, by name."""
    store = open_store(folder / CASES, create=True)
    left_out: dict[str, str] = {}
    wanted = [s for s in subjects if s.name in plan.train + plan.test]
    for number, subject in enumerate(wanted):
        progress("cases", number / len(wanted), subject.name)
        tested = subject.name in plan.test
        digest = subject.sha256 or source_digest(subject.path)
        names = {False: subject.name}
        if tested and plan.pneumothorax:
            names[True] = subject.name + AIR_SUFFIX
        missing = {
            air: name
            for air, name in names.items()
            if not store.holds(name, digest, _settings(subject, plan, air, number))
            or (tested and not _are_labelled(folder, name, air))
        }
        if not missing:
            continue
        try:
            for air, volume, made in _volumes(subject, plan, missing, number):
                _forget_labels(folder, missing[air])
                _put(
                    store, subject, digest, missing[air], volume, _settings(subject, plan, air, number), plan
                )
                if tested:
                    _label(folder, missing[air], plan, made)
        except InputError as error:
            left_out[subject.name] = str(error)
    return left_out


def load_cases(folder: Path, names: Sequence[str]) -> Iterator[Case]:
    """The cases of these CTs that the store holds, in their order."""
    from xrecon.io.image import read_volume

    store, lungs = open_store(folder / CASES), read_plan(folder).lungs
    for subject in names:
        for name in (subject, subject + AIR_SUFFIX):
            if name in store.cases:
                stored, path = store.load(name), _labels_path(folder, name)
                truth = stored.volume
                empty = truth.with_array(np.zeros(truth.shape, np.uint8), Quantity.LABEL)
                labels = read_volume(path, Quantity.LABEL) if path.is_file() else empty
                patient = stored.entry.patient
                air = name != subject
                exact = read_exact(_exact_path(folder, name)) if air else None
                yield Case(name, subject, patient, air, truth, stored.radiographs, labels, lungs, exact)


def ptx_labels(volume: Volume, lungs: str) -> Volume:
    """Labels of PTX-Seg on a CT with a lung model; all 0 where no lungs are found."""
    from xrecon.pipelines import segment

    try:
        return segment(volume, lung_models=(lungs,), device="cpu").labels
    except InputError:
        return volume.with_array(np.zeros(volume.shape, np.uint8), Quantity.LABEL)


def _labels_path(folder: Path, name: str) -> Path:
    return folder / LABELS / f"{name}.nrrd"


def _exact_path(folder: Path, name: str) -> Path:
    return folder / LABELS / f"{name}{SUFFIX}"


def _are_labelled(folder: Path, name: str, air: bool) -> bool:
    """Whether a run that was stopped had come to the end of this case."""
    return _labels_path(folder, name).is_file() and (not air or _exact_path(folder, name).is_file())


def _forget_labels(folder: Path, name: str) -> None:
    for path in (_labels_path(folder, name), _exact_path(folder, name)):
        path.unlink(missing_ok=True)


def _settings(subject: Subject, plan: Plan, air: bool, number: int) -> dict[str, object]:
    return {
        "patient": subject.patient,
        "side": plan.side,
        "pneumothorax": plan.pneumothorax if air else 0.0,
        "seed": plan.seed,
        "air_side": SIDES[number % 2] if air else "",
        "detector": list(DETECTOR),
    }


def _volumes(
    subject: Subject, plan: Plan, wanted: dict[bool, str], number: int
) -> Iterator[tuple[bool, Volume, SyntheticPneumothorax | None]]:
    """The CT without its table, as scanned and with air, as asked for, and what is known of that air."""
    from xrecon.io.image import read_volume
    from xrecon.preprocess.ct import remove_table

    volume = remove_table(read_volume(subject.path).require_hounsfield(f"the CT {subject.path}"))
    if False in wanted:
        yield False, volume, None
    if True in wanted:
        from xrecon.pneumothorax.lungs import classical_lungs
        from xrecon.pneumothorax.synthesize import synthesize

        lungs = classical_lungs(volume)
        made = synthesize(volume, lungs, SIDES[number % 2], plan.pneumothorax, seed=plan.seed)
        yield True, made.volume, made


def _put(
    store: Store,
    subject: Subject,
    digest: str,
    name: str,
    volume: Volume,
    settings: dict[str, object],
    plan: Plan,
) -> None:
    from xrecon.preprocess.ct import resample

    radiographs, isocenter, _ = project(volume, DrrOptions(shape=DETECTOR), lambda *_: None)
    truth = resample(volume, (plan.side,) * 3, (plan.spacing_mm,) * 3, isocenter)
    store.put(
        name,
        truth,
        radiographs,
        source=subject.path.name,
        source_sha256=digest,
        settings=settings,
        patient=subject.patient,
        attribution=subject.attribution,
        licence=subject.licence,
        made_by={"xrecon": __version__},
    )


def _label(folder: Path, name: str, plan: Plan, made: SyntheticPneumothorax | None) -> None:
    """PTX-Seg on a test case's truth, once for all methods, and the air that was put in."""
    from xrecon.io.image import write_volume

    truth = open_store(folder / CASES).load(name).volume
    path = _labels_path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if made is not None:
        write_exact(exact_air(made, truth), _exact_path(folder, name))
    write_volume(ptx_labels(truth, plan.lungs), path)
