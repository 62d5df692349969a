"""The test cases, and the training CTs for the controls: radiographs and truth, made once and stored.

Each test CT gives two cases: as scanned (table removed), and with a synthetic pneumothorax, so that
there is pleural air to be found. A case is on the grid of the benchmark, about the isocentre of its
views; its radiographs are projected from the CT at its own resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xrecon import __version__
from xrecon.benchmark.plan import Plan
from xrecon.drr.projection import DrrOptions, project
from xrecon.training.store import Store, open_store, source_digest
from xrecon.training.subjects import Subject
from xrecon.volume import InputError, Radiograph, Volume

CASES = "cases"
AIR_SUFFIX = "+pneumothorax"
# Pictures of 430 mm on twice as many pixels as the networks' usual detector.
DETECTOR = (256, 256)
SIDES = ("right", "left")


@dataclass(frozen=True, eq=False)
class Case:
    """truth: HU on the benchmark's grid. subject: the CT it was made from; air: with a pneumothorax."""

    name: str
    subject: str
    air: bool
    truth: Volume
    radiographs: Sequence[Radiograph]


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
        digest = source_digest(subject.path)
        names = {False: subject.name}
        if tested and plan.pneumothorax:
            names[True] = subject.name + AIR_SUFFIX
        missing = {
            air: name
            for air, name in names.items()
            if not store.holds(name, digest, _settings(plan, air, number))
        }
        if not missing:
            continue
        try:
            for air, volume in _volumes(subject, plan, missing, number):
                _put(store, subject, digest, missing[air], volume, _settings(plan, air, number), plan)
        except InputError as error:
            left_out[subject.name] = str(error)
    return left_out


def load_cases(folder: Path, names: Sequence[str]) -> Iterator[Case]:
    """The cases of these CTs that the store holds, in their order."""
    store = open_store(folder / CASES)
    for subject in names:
        for name in (subject, subject + AIR_SUFFIX):
            if name in store.cases:
                stored = store.load(name)
                yield Case(name, subject, name != subject, stored.volume, stored.radiographs)


def _settings(plan: Plan, air: bool, number: int) -> dict[str, object]:
    return {
        "side": plan.side,
        "pneumothorax": plan.pneumothorax if air else 0.0,
        "seed": plan.seed,
        "air_side": SIDES[number % 2] if air else "",
        "detector": list(DETECTOR),
    }


def _volumes(
    subject: Subject, plan: Plan, wanted: dict[bool, str], number: int
) -> Iterator[tuple[bool, Volume]]:
    """The CT without its table, as scanned and with air, as asked for."""
    from xrecon.io.image import read_volume
    from xrecon.preprocess.ct import remove_table

    volume = remove_table(read_volume(subject.path).require_hounsfield(f"the CT {subject.path}"))
    if False in wanted:
        yield False, volume
    if True in wanted:
        from xrecon.pneumothorax.lungs import segment_lungs
        from xrecon.pneumothorax.synthesize import add_pneumothorax

        side = SIDES[number % 2]
        lungs = segment_lungs(volume)
        yield True, add_pneumothorax(volume, lungs, side, plan.pneumothorax, seed=plan.seed)[0]


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
