"""Who makes the batches of a run ahead of it: a thread, or processes of their own."""

from __future__ import annotations

import multiprocessing

import pytest
import torch
from training_inputs import TINY_X_RECON, prepared, tiny, write_cts, write_store
from xrecon.training.config import make_config
from xrecon.training.datasets import ProjectedPairs
from xrecon.training.prepared import MemoryCache, PreparedSubjects
from xrecon.training.reconstruction import ReconstructionTask
from xrecon.training.run import train
from xrecon.training.sampling import Prefetched
from xrecon.training.status import StopRequested, request_stop
from xrecon.training.stored import StoredPairs, stored_subjects
from xrecon.training.subjects import Subject


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cts(tmp_path_factory.mktemp("cts"))


def test_the_next_batch_is_made_ahead_and_its_errors_are_raised(folder, tmp_path):
    config = tiny()
    pairs = ProjectedPairs(prepared(folder, config, tmp_path), config)
    ahead = Prefetched(pairs)
    for items, following in (([0], [1]), ([1], [5]), ([2], [3]), ([3], None)):
        assert torch.equal(ahead.sample(items, following).target, pairs.sample(items).target)
    lost = Subject("lost", tmp_path / "lost.nrrd", "lost", sha256="0")
    broken = PreparedSubjects([lost], config, tmp_path, pairs.prepared.cache)
    ahead = Prefetched(Broken(pairs, ProjectedPairs(broken, config)))
    ahead.sample([0], [1])
    with pytest.raises(FileNotFoundError):
        ahead.sample([1], None)


def test_processes_make_the_batches_that_a_thread_makes(folder, tmp_path):
    config = tiny(
        **{"segmentation.source": "lungs and air", "loss.air": "0.1", "pneumothorax_variants": "2"}
    )
    pairs = ProjectedPairs(prepared(folder, config, tmp_path), config)
    assert pairs.sample([4, 5]).air_mm is not None
    ahead = Prefetched(pairs, processes=2)
    # a run that goes on elsewhere, as after a checkpoint, and ends
    for items, following in (([4, 5], [6, 7]), ([6, 7], [8, 9]), ([20, 21], [22, 23]), ([22, 23], None)):
        made, wanted = ahead.sample(items, following), pairs.sample(items)
        assert made.names == wanted.names and torch.equal(made.labels.long(), wanted.labels)
        for part in ("pictures", "matrices", "target", "air_mm"):
            assert torch.equal(getattr(made, part), getattr(wanted, part))
    lost = Subject("lost", tmp_path / "lost.nrrd", "lost", sha256="0")
    broken = PreparedSubjects([lost], config, tmp_path, pairs.prepared.cache)
    with pytest.raises(FileNotFoundError, match="lost.nrrd"):
        Prefetched(ProjectedPairs(broken, config), processes=1).sample([0], [1])


class Broken:
    """A source that has lost the file of every sample but the first."""

    def __init__(self, whole, broken):
        self.whole, self.broken = whole, broken

    def sample(self, items):
        return (self.broken if items[0] else self.whole).sample(items)


def dropout(recipe_steps: int, processes: int, **changes):
    """A run whose network draws at random itself, whose gradients add up over two batches."""
    options = '{"base_channels": 4, "dropout": 0.5}'
    overrides = {**TINY_X_RECON, "options": options, "steps": str(recipe_steps), "accumulation": "2"}
    return make_config("x-recon", None, {**overrides, "sampling_processes": str(processes), **changes})


def weights_of(run):
    return (run / "model" / "weights.safetensors").read_bytes()


def test_a_run_is_the_same_whoever_makes_its_samples_and_when_it_goes_on(folder, tmp_path):
    train(folder, tmp_path / "thread", dropout(3, 0))
    train(folder, tmp_path / "processes", dropout(3, 1))
    assert weights_of(tmp_path / "thread") == weights_of(tmp_path / "processes")
    assert multiprocessing.active_children() == []

    def progress(stage, fraction, message):
        if stage == "train" and "step 1/" in message:
            request_stop(tmp_path / "cut")

    with pytest.raises(StopRequested):
        train(folder, tmp_path / "cut", dropout(3, 1), progress=progress)
    assert multiprocessing.active_children() == []
    train(folder, tmp_path / "cut", dropout(3, 1), resume=True)
    assert weights_of(tmp_path / "cut") == weights_of(tmp_path / "thread")


def test_processes_end_with_a_run_that_fails(folder, tmp_path, monkeypatch):
    def broken(self, step, batch):
        assert multiprocessing.active_children() != []
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(ReconstructionTask, "_compared", broken)
    with pytest.raises(RuntimeError, match="on purpose") as caught:
        train(folder, tmp_path / "run", tiny(sampling_processes="1"))
    assert caught.traceback and multiprocessing.active_children() == []


def test_a_store_can_be_sampled_by_processes_too(tmp_path):
    store = write_store(tmp_path / "store")
    config = tiny(sampling_processes="1")
    pairs = StoredPairs(store, stored_subjects(store), config, MemoryCache(1e9))
    ahead = Prefetched(pairs, processes=1)
    for items, following in (([0], [1]), ([1], None)):
        made, wanted = ahead.sample(items, following), pairs.sample(items)
        assert torch.equal(made.pictures, wanted.pictures) and torch.equal(made.target, wanted.target)
    assert multiprocessing.active_children() == []
