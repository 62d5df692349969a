"""The training loop: steps, log, validation, checkpoints, export.

A run lives in one folder:
    config.json      all settings
    splits.json      which patient is in which split
    log.csv          one row per logged step
    checkpoint.pt    everything needed to go on; replaced atomically
    model/           card.json and weights.safetensors, written at the end
A killed run resumes from its checkpoint and gives what an uninterrupted run would have given:
samples and random numbers depend on (seed, step) only.
"""

from __future__ import annotations

import csv
import io
import json
import math
import pickle
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from xrecon.io.atomic import atomic_path, atomic_write_text
from xrecon.training.config import OptimizerConfig, TrainConfig, parse_config
from xrecon.volume import InputError

Progress = Callable[[str, float, str], None]
CHECKPOINT, LOG, CONFIG = "checkpoint.pt", "log.csv", "config.json"
LOG_EVERY = 20


class Task(Protocol):
    """What the engine needs to know of the thing being trained."""

    network: nn.Module
    critic: nn.Module | None  # the discriminator, when the loss has one

    def generator_loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss of the step's batch, and its terms for the log."""

    def critic_loss(self, step: int) -> torch.Tensor:
        """Loss of the discriminator on the batch of the generator's last step."""

    def validate(self) -> dict[str, float]:
        """Metrics on the validation patients; empty when there are none."""

    def export(self, folder: Path, training: dict[str, object]) -> dict[str, float]:
        """Writes card and weights; returns the measured quality."""


def learning_rate_factor(settings: OptimizerConfig, step: int, steps: int) -> float:
    """Share of the learning rate at a step: constant, cosine to zero, or linear to zero after
    `warm_fraction` of the steps (the paper: 100 epochs constant, 100 linear)."""
    done = step / max(steps, 1)
    if settings.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    if settings.schedule == "linear" and done > settings.warm_fraction:
        return max(0.0, (1.0 - done) / max(1.0 - settings.warm_fraction, 1e-9))
    return 1.0


def make_optimizer(module: nn.Module, settings: OptimizerConfig) -> torch.optim.Optimizer:
    """Adam, or AdamW when decoupled, over all parameters."""
    kind = torch.optim.AdamW if settings.decoupled else torch.optim.Adam
    return kind(
        module.parameters(),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
    )


class Trainer:
    """One run of a task in a folder.

    Raises InputError when the folder holds a run with other settings, and when the
    loss is no longer finite (the last checkpoint stays).
    """

    def __init__(
        self, task: Task, config: TrainConfig, steps: int, folder: Path, progress: Progress | None = None
    ) -> None:
        self.task, self.config, self.steps = task, config, steps
        self.folder, self.progress = Path(folder), progress
        self.step, self.seconds = 0, 0.0
        self.optimizer = make_optimizer(task.network, config.optimizer)
        self.critic_optimizer = make_optimizer(task.critic, config.optimizer) if task.critic else None
        self.rows: list[dict[str, float]] = []

    # -- the run -------------------------------------------------------------------------------
    def run(self, resume: bool = False) -> dict[str, float]:
        """Trains to the last step and exports; returns the measured quality."""
        self._start(resume)
        while self.step < self.steps:
            started = time.perf_counter()
            terms = self._train_step()
            self.step += 1
            self.seconds += time.perf_counter() - started
            self._after_step(terms)
        self._save()
        training = {
            "steps": self.step,
            "hours": round(self.seconds / 3600, 3),
            "config": self.config.model_dump(mode="json"),
        }
        return self.task.export(self.folder / "model", training)

    def _train_step(self) -> dict[str, float]:
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        factor = learning_rate_factor(self.config.optimizer, self.step, self.steps)
        self.task.network.train()
        loss, terms = self.task.generator_loss(self.step)
        if not torch.isfinite(loss):
            raise InputError(f"the loss is {loss.item()} at step {self.step}: lower the learning rate")
        self._update(self.optimizer, self.task.network, loss, factor)
        if self.critic_optimizer is not None:
            critic_loss = self.task.critic_loss(self.step)
            self._update(self.critic_optimizer, self.task.critic, critic_loss, factor)
            terms["critic"] = float(critic_loss.detach())
        return {"loss": float(loss.detach()), **terms, "learning_rate_factor": factor}

    def _update(
        self, optimizer: torch.optim.Optimizer, module: nn.Module, loss: torch.Tensor, factor: float
    ) -> None:
        settings = self.config.optimizer
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.gradient_clip:
            nn.utils.clip_grad_norm_(module.parameters(), settings.gradient_clip)
        optimizer.step()

    def _after_step(self, terms: dict[str, float]) -> None:
        last = self.step == self.steps
        metrics = {}
        if self.step % self.config.validate_every == 0 or last:
            self.task.network.eval()
            with torch.no_grad():
                metrics = {f"validation_{k}": v for k, v in self.task.validate().items()}
        if self.step % LOG_EVERY == 0 or metrics or last:
            self.rows.append({"step": self.step, "seconds": round(self.seconds, 2), **terms, **metrics})
        if self.step % self.config.checkpoint_every == 0:
            self._save()
        if self.progress:
            text = ", ".join(f"{k} {v:.4g}" for k, v in {"loss": terms["loss"], **metrics}.items())
            self.progress("train", self.step / self.steps, f"step {self.step}/{self.steps}: {text}")

    # -- files ---------------------------------------------------------------------------------
    def _start(self, resume: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = self.folder / CHECKPOINT
        if checkpoint.exists():
            if not resume:
                raise InputError(
                    f"expected a folder without a run, found {checkpoint}: resume it or choose another folder"
                )
            self._load(checkpoint)
        atomic_write_text(self.folder / CONFIG, self.config.model_dump_json(indent=2) + "\n")

    def _save(self) -> None:
        state = {
            "step": self.step,
            "steps": self.steps,
            "seconds": self.seconds,
            "config": self.config.model_dump_json(),
            "network": self.task.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rows": self.rows,
        }
        if self.critic_optimizer is not None:
            state["critic"] = self.task.critic.state_dict()
            state["critic_optimizer"] = self.critic_optimizer.state_dict()
        with atomic_path(self.folder / CHECKPOINT) as temporary:
            torch.save(state, temporary)
        atomic_write_text(self.folder / LOG, _csv(self.rows))

    def _load(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            stored = parse_config(json.loads(state["config"]))
        except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise InputError(
                f"the checkpoint {path} is damaged or no checkpoint: delete it or choose another folder"
            ) from error
        changed = changed_settings(stored.model_dump(mode="json"), self.config)
        if changed or state["steps"] != self.steps:
            raise InputError(
                f"expected the settings of the run in {path.parent}, got others in {changed or ['steps']}"
            )
        self.task.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.critic_optimizer is not None:
            self.task.critic.load_state_dict(state["critic"])
            self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.step, self.seconds, self.rows = state["step"], state["seconds"], state["rows"]


def changed_settings(stored: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """Names of the settings of a stored run that `config` has otherwise, so that it cannot be resumed.

    The device is none of them: a run may go on elsewhere.
    """
    wished = config.model_dump(mode="json", exclude={"device"})
    return sorted(k for k, v in wished.items() if k not in stored or stored[k] != v)


def _csv(rows: list[dict[str, float]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
