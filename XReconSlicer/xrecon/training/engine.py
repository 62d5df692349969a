"""The training loop: steps, log, validation, checkpoints, export.

A run lives in one folder:
    config.json      all settings
    subjects.json    which CTs, by content, and which were left out; splits.json: who is in which split
    environment.json packages, device and source version of each session of the run
    log.csv          one row per logged step; tensorboard/ holds the same when that is installed
    samples/         pictures of a validation subject's reconstruction
    checkpoint.pt    everything needed to go on; replaced atomically
    status.json      how far it is and how it ended, beside a lock (`training.status`)
    model/           card.json and weights.safetensors, written at the end
A killed run resumes from its checkpoint and gives what an uninterrupted run would have given.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from xrecon.io.atomic import atomic_path, atomic_write_text
from xrecon.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from xrecon.training.config import TrainConfig
from xrecon.training.distributed import Processes, without_averaging
from xrecon.training.environment import note_environment
from xrecon.training.optimization import (
    apply_gradients,
    learning_rate_factor,
    make_optimizer,
    moving_average,
)
from xrecon.training.order import Share
from xrecon.training.runlog import RunLog, TimeLeft
from xrecon.training.status import STOP, StopRequested
from xrecon.volume import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

Progress = Callable[[str, float, str], None]
CONFIG, SAMPLES = "config.json", "samples"
LOG_EVERY = 20


class Task(Protocol):
    """What the engine needs to know of the thing being trained.

    `items` are the numbers of the samples of a batch (`training.order`).
    """

    device: torch.device
    network: nn.Module
    critic: nn.Module | None  # the discriminator, when the loss has one

    def distribute(self, processes: Processes) -> tuple[nn.Module, nn.Module | None]:
        """Network and discriminator as the losses call them when several processes work together."""

    def generator_loss(
        self, step: int, items: Sequence[int], following: Sequence[int] | None
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor | float]]:
        """Loss of a batch, and its terms for the log; `following` are the next batch's samples."""

    def critic_loss(self) -> torch.Tensor:
        """Loss of the discriminator on the oldest batch of `generator_loss` that it has not seen."""

    def close(self) -> None:
        """Ends what makes samples beside the training."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Metrics on the validation patients; empty when there are none."""

    def picture(self, network: nn.Module) -> Image | None:
        """What the network makes of a validation patient, beside the truth."""

    def export(self, folder: Path, network: nn.Module, training: dict[str, object]) -> dict[str, float]:
        """Writes card and weights; returns the measured quality."""


class Trainer:
    """One run of a task in a folder.

    steps: of the optimiser. epoch_steps: steps of one epoch. stop: whether the run is to end after this
    step; one process's wish is enough. Raises StopRequested then, with a checkpoint saved. Raises
    InputError when the folder holds a run with other settings, and when the loss is no longer finite
    (the last checkpoint stays).
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        steps: int,
        folder: Path,
        progress: Progress | None = None,
        *,
        epoch_steps: int = 1,
        processes: Processes | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.task, self.config, self.steps, self.epoch_steps = task, config, steps, epoch_steps
        self.folder, self.progress = Path(folder), progress
        self.processes, self.stop = processes or Processes(), stop
        self.share = Share(config.batch, config.accumulation, self.processes.rank, self.processes.count)
        self.step, self.seconds = 0, 0.0
        self.optimizer = make_optimizer(task.network, config.optimizer)
        self.critic_optimizer = make_optimizer(task.critic, config.optimizer) if task.critic else None
        self.average = moving_average(task.network, config.ema_decay)
        self._network, self._critic = task.distribute(self.processes)
        self.log = RunLog(self.folder)
        self._sessions: list[dict[str, Any]] = []

    # -- the run -------------------------------------------------------------------------------
    def run(self, resume: bool = False) -> dict[str, float]:
        """Trains to the last step and exports; returns the measured quality, {} but in the first process."""
        self._start(resume)
        clock = TimeLeft(self.step, self.steps)
        with _repeatable(self.config.deterministic), self._helpers():
            while self.step < self.steps:
                if self.step == self.config.loss.air_shadow_steps:
                    clock = TimeLeft(self.step, self.steps)  # from here on a step takes longer
                started = time.perf_counter()
                terms = self._train_step()
                is_stop = terms.pop(STOP) > 0
                self.step += 1
                self.seconds += time.perf_counter() - started
                if self.processes.is_first:
                    self._after_step(terms, clock)
                if is_stop and self.step < self.steps:
                    self._leave_off()
            return self._finish() if self.processes.is_first else {}

    @contextmanager
    def _helpers(self) -> Iterator[None]:
        """Processes that make samples end with the run, however it ends."""
        try:
            yield
        finally:
            self.task.close()

    @property
    def best_network(self) -> nn.Module:
        """What is validated and exported: the moving average when there is one."""
        return self.task.network if self.average is None else self.average.module

    def _train_step(self) -> dict[str, float]:
        # another seed in each process, or all would draw the same dropout
        torch.manual_seed((self.config.seed * 1_000_003 + self.step) * 4099 + self.processes.rank)
        factor = learning_rate_factor(self.config.optimizer, self.step, self.steps)
        self.task.network.train()
        terms = self._update_generator(factor)
        if self.average is not None:
            self.average.update_parameters(self.task.network)
        if self.critic_optimizer is not None:
            terms["critic"] = self._update_critic(factor)
        terms = self.processes.mean({**terms, STOP: float(self.stop())}, self.task.device)
        return {**terms, "learning_rate_factor": factor}

    def _update_generator(self, factor: float) -> dict[str, float]:
        parts, sums = self.share.items(self.step), {}
        following = self.share.items(self.step + 1)[:1] if self.step + 1 < self.steps else [None]
        for number, items in enumerate(parts):
            with without_averaging(self._network, number < len(parts) - 1):
                then = [*parts, *following][number + 1]
                loss, terms = self.task.generator_loss(self.step, items, then)
                (loss / len(parts)).backward()
            # a GPU is asked for numbers only now, so that it need not wait for the processor before
            for name, value in {"loss": loss.detach(), **terms}.items():
                sums[name] = sums.get(name, 0.0) + float(value) / len(parts)
            if not math.isfinite(sums["loss"]):
                raise InputError(
                    f"the loss is {sums['loss']} at step {self.step}: lower the learning rate"
                )
        apply_gradients(self.optimizer, self.task.network, self.config.optimizer, factor)
        return sums

    def _update_critic(self, factor: float) -> float:
        total, parts = 0.0, self.config.accumulation
        for number in range(parts):
            with without_averaging(self._critic, number < parts - 1):
                loss = self.task.critic_loss() / parts
                loss.backward()
            total += float(loss.detach())
        apply_gradients(self.critic_optimizer, self.task.critic, self.config.optimizer, factor)
        return total

    def _after_step(self, terms: dict[str, float], clock: TimeLeft) -> None:
        last, metrics = self.step == self.steps, {}
        if self.step % self.config.validate_every == 0 or last:
            metrics = {f"validation_{k}": v for k, v in self._judged(self.task.validate).items()}
        if self.step % LOG_EVERY == 0 or metrics or last:
            self.log.add({"step": self.step, "seconds": round(self.seconds, 2), **terms, **metrics})
        every = self.config.sample_every_epochs * self.epoch_steps
        if every and (self.step % every == 0 or last):
            self._draw()
        if self.step % self.config.checkpoint_every == 0:
            self._save()
        if self.progress:
            numbers = [f"{k} {v:.4g}" for k, v in {"loss": terms["loss"], **metrics}.items()]
            text = ", ".join([*numbers, *filter(None, [clock.text(self.step)])])
            self.progress("train", self.step / self.steps, f"step {self.step}/{self.steps}: {text}")

    def _judged(self, judge: Callable[[nn.Module], Any]) -> Any:
        network = self.best_network.eval()
        with torch.no_grad():
            return judge(network)

    def _draw(self) -> None:
        picture = self._judged(self.task.picture)
        if picture is not None:
            with atomic_path(self.folder / SAMPLES / f"step_{self.step:08d}.png") as temporary:
                picture.save(temporary)

    def _leave_off(self) -> None:
        if self.processes.is_first:
            self._save()
            self.log.close()
        raise StopRequested(f"stopped at step {self.step} of {self.steps}; resume goes on from there")

    def _finish(self) -> dict[str, float]:
        self._save()
        self.log.close()
        training = {
            "steps": self.step,
            "processes": self.processes.count,
            "hours": round(self.seconds / 3600, 3),
            "seed": self.config.seed,
            "environment": self._sessions,
            "config": self.config.model_dump(mode="json"),
        }
        return self.task.export(self.folder / "model", self.best_network, training)

    # -- files ---------------------------------------------------------------------------------
    def _start(self, resume: bool) -> None:
        checkpoint = self.folder / CHECKPOINT
        if checkpoint.exists():
            if not resume:
                raise InputError(
                    f"expected a folder without a run, found {checkpoint}: resume it or choose another folder"
                )
            self._load(checkpoint)
        if self.processes.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic_write_text(self.folder / CONFIG, self.config.model_dump_json(indent=2) + "\n")
            self._sessions = note_environment(self.folder, str(self.task.device), self.step)

    def _parts(self) -> dict[str, Any]:
        """Everything with a state of its own, by its name in the checkpoint."""
        parts = {
            "network": self.task.network,
            "optimizer": self.optimizer,
            "average": self.average,
            "critic": self.task.critic,
            "critic_optimizer": self.critic_optimizer,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _save(self) -> None:
        state = {
            "step": self.step,
            "steps": self.steps,
            "step_samples": self.share.step_samples,
            "seconds": self.seconds,
            "config": self.config.model_dump_json(),
            "rows": self.log.rows,
            **{name: part.state_dict() for name, part in self._parts().items()},
        }
        save_checkpoint(self.folder / CHECKPOINT, state)
        self.log.write()

    def _load(self, path: Path) -> None:
        state = load_checkpoint(path, self.config, self.steps, self.share.step_samples)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step, self.seconds, self.log.rows = state["step"], state["seconds"], state["rows"]
        if self.processes.is_first:
            self.log.write()  # without what a killed run logged after its checkpoint


@contextmanager
def _repeatable(wanted: bool) -> Iterator[None]:
    """Algorithms that give the same bits each time, as far as torch has them, when wanted."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    # every step has the same shapes, so that trying cuDNN's algorithms once pays
    torch.backends.cudnn.benchmark = not wanted
    if wanted:
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=warn_only)
        torch.backends.cudnn.benchmark = before[1]
