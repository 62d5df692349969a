"""Who makes the batches of a run ahead of it: a thread, or processes of their own."""

from __future__ import annotations

import pytest
import torch
from training_inputs import prepared, tiny, write_cts
from xrecon.training.datasets import ProjectedPairs
from xrecon.training.prepared import PreparedSubjects
from xrecon.training.run import train
from xrecon.training.sampling import Prefetched
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
    ahead = Prefetched(pairs, processes=2)
    # a run that goes on elsewhere, as after a checkpoint, and ends
    for items, following in (([4, 5], [6, 7]), ([6, 7], [8, 9]), ([20, 21], [22, 23]), ([22, 23], None)):
        made, wanted = ahead.sample(items, following), pairs.sample(items)
        assert made.names == wanted.names and torch.equal(made.labels.long(), wanted.labels)
        for part in ("pictures", "matrices", "target"):
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


def test_a_run_is_the_same_whoever_makes_its_samples(folder, tmp_path):
    weights = []
    for processes in (0, 2):
        config = tiny(steps="4", sampling_processes=str(processes))
        train(folder, tmp_path / str(processes), config)
        weights.append((tmp_path / str(processes) / "model" / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]
