"""One run of a training program: what it has at hand, and how its stages share a state folder. Knows no recipe."""

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
    """It trains, or only fetches what earlier ones have trained."""

    folder: Path
    show: Callable[[str], None]
    trains: bool = True
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    stop: Event = field(default_factory=Event)

    @property
    def is_training(self) -> bool:
        return self.trains and not self.stop.is_set()

    def stop_on_signals(self) -> None:
        """By SIGTERM or Ctrl-C, after the step."""
        for told in (signal.SIGINT, signal.SIGTERM):
            signal.signal(told, lambda *_: self.stop.set())

    def claim_folder(self, *data: object) -> None:
        """The state folder for what is trained on these data; how many steps may change between sittings, this not.

        Raises ValueError where the folder is another training's.
        """
        claim, file = "\n".join(map(repr, data)) + "\n", self.folder / CLAIM
        if not file.exists():
            write_whole(file, lambda draft: draft.write_text(claim))
        elif file.read_text() != claim:
            raise ValueError(f"{self.folder} is the state of a training on other data: name another folder")

    def images(self, drawn: int, *, photos: bool) -> ImageDataset:
        return open_images(self.folder, drawn, photos=photos, show=self.show, stopped=self.stop.is_set).to(self.device)

    def train_stage(self, name: str, module: nn.Module, schedule: Schedule, loss_of: Callable[[], StepLoss]) -> None:
        """The mean of the weights of this stage into the module; those that it has where the stage has not begun."""
        stage = Stage(name, self.folder, module.to(self.device), schedule)
        if self.is_training and stage.step < schedule.steps:
            stage.run(loss_of(), self.show, self.stop.is_set)
        stage.load_ema()

    def cache_latents(self, name: str, views: Views, images: ImageDataset, encoder: LatentEncoder) -> Path:
        """The folder of these latents, where it now has all of them unless it was told to stop."""
        folder = self.folder / name
        if self.is_training:
            for number in write_latents(folder, views, images, encoder):
                if number % SHOW_EVERY_STEPS == 0:
                    self.show(f"{name} {number}/{views.count}")
                if self.stop.is_set():
                    break
        return folder


def show(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)  # noqa: T201 - for who waits
