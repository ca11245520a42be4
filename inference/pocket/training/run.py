"""One run of a training program, `train` or `finish`: its state folder, its device, and its stop signal."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import torch
from torch import nn

from inference.pocket.data.image_dataset import ImageDataset, open_images
from inference.pocket.data.latent_dataset import LatentEncoder, Views, write_latents
from inference.pocket.files import write_whole
from inference.pocket.training.stage import SHOW_EVERY_STEPS, Schedule, Stage, StepLoss

CLAIM = "data.txt"


@dataclass(frozen=True)
class TrainingRun:
    """Trains stages, or with `trains=False` only loads what earlier runs have trained. Lives as long as the program.

    The state folder `folder` outlives it, so that a later run resumes.
    """

    folder: Path
    show: Callable[[str], None]
    trains: bool = True
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    stop: Event = field(default_factory=Event)

    @property
    def is_training(self) -> bool:
        """Return whether the run trains and has not been stopped."""
        return self.trains and not self.stop.is_set()

    def stop_on_signals(self) -> None:
        """Stop after the current step at SIGTERM or Ctrl-C, for the rest of the process. Call it in the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.stop.set())

    def claim_folder(self, *data: object) -> None:
        """Bind the state folder to these data, by their `repr`. Unlike the steps of a stage, they may not change later.

        Raises ValueError if the folder is bound to other data.
        """
        claim, file = "\n".join(map(repr, data)) + "\n", self.folder / CLAIM
        if not file.exists():
            write_whole(file, lambda draft: draft.write_text(claim))
        elif file.read_text() != claim:
            raise ValueError(f"{self.folder} is the state of a training on other data: name another folder")

    def images(self, drawn: int, *, photos: bool) -> ImageDataset:
        """Return the image dataset of the state folder on the run's device, after making it if it is missing.

        Raises InterruptedError if the run is stopped meanwhile.
        """
        return open_images(self.folder, drawn, photos=photos, show=self.show, stopped=self.stop.is_set).to(self.device)

    def train_stage(self, name: str, module: nn.Module, schedule: Schedule, loss_of: Callable[[], StepLoss]) -> None:
        """Train or resume the stage, then load its EMA weights into `module`, on the run's device.

        A stage that was never run leaves the weights of `module` unchanged. `loss_of` is called only if there are steps
        to train. Returns early if the run is stopped. Raises ArithmeticError if a loss or gradient is not finite.
        """
        stage = Stage(name, self.folder, module.to(self.device), schedule)
        if self.is_training and stage.step < schedule.steps:
            stage.run(loss_of(), self.show, self.stop.is_set)
        stage.load_ema()

    def cache_latents(self, name: str, views: Views, images: ImageDataset, encoder: LatentEncoder) -> Path:
        """Write the missing latents and return their folder, `name` in the state folder.

        It is incomplete if the run was stopped, and may not exist if the run does not train.
        """
        folder = self.folder / name
        if self.is_training:
            for number in write_latents(folder, views, images, encoder):
                if number % SHOW_EVERY_STEPS == 0:
                    self.show(f"{name} {number}/{views.count}")
                if self.stop.is_set():
                    break
        return folder


def show(line: str) -> None:
    """Print a line of progress with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)  # noqa: T201 - progress for the user
