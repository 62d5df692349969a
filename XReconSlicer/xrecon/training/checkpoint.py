"""The state of a run in one file that is whole at any moment, and what must agree to go on from it.

Samples and random numbers depend on the seed and the step only (`training.order`), so the step number
stands for the data order and the random state.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from xrecon.io.atomic import atomic_path
from xrecon.training.config import TrainConfig, parse_config
from xrecon.volume import InputError

CHECKPOINT = "checkpoint.pt"
# Of what a step number means and what is stored: a run is not continued across a change of it.
VERSION = 2
# Settings that may change when a run goes on, since the weights do not depend on them. Batch and
# accumulation count by the samples of a step, which is compared by itself.
FREE = {
    "device",
    "batch",
    "accumulation",
    "memory_budget_gb",
    "preparation_processes",
    "sampling_processes",
    "checkpoint_every",
    "validate_every",
    "sample_every_epochs",
    "checkpointing",
}


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes the state, whole or not at all. Raises OSError naming the folder when there is no room."""
    with atomic_path(path) as temporary:
        try:
            with open(temporary, "wb") as stream:
                torch.save({"version": VERSION, **state}, stream)
        except RuntimeError as error:
            # torch's archive writer complains of its position after the system said why
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_checkpoint(path: Path, config: TrainConfig, steps: int, step_samples: int) -> dict[str, Any]:
    """The state of a run with these settings.

    Raises InputError for a damaged file, another version, and other settings.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        version = state.get("version", 1)
        stored = json.loads(state["config"])
        if version == VERSION:
            parse_config(stored)
    except (RuntimeError, KeyError, ValueError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise InputError(
            f"the checkpoint {path} is damaged or no checkpoint: delete it or choose another folder"
        ) from error
    if version != VERSION:
        raise InputError(
            f"expected a run of this version of xrecon in {path.parent}, got one of another version: "
            "choose another folder"
        )
    changed = changed_settings(stored, config)
    if state["steps"] != steps and not changed:
        changed = [f"steps ({state['steps']} before, {steps} now)"]
    if state["step_samples"] != step_samples and not changed:
        before, now = state["step_samples"], step_samples
        changed = [f"batch x accumulation x processes ({before} before, {now} now)"]
    if changed:
        raise InputError(f"expected the settings of the run in {path.parent}, got others in {changed}")
    return state


def changed_settings(stored: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """Names of the settings of a stored run that `config` has otherwise, so that it cannot be resumed."""
    wished = config.model_dump(mode="json", exclude=FREE)
    return sorted(k for k, v in wished.items() if k not in stored or stored[k] != v)
