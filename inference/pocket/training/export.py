"""Writes what is trained so far as a checkpoint: `python -m inference.pocket.training.export FOLDER [STATE [RECIPE]]`.

Trains nothing. RECIPE is the training's: cpu, or gpu where it ran on one.
"""

import sys
from pathlib import Path

from inference.pocket.build import PocketModel, write
from inference.pocket.training.recipe import RECIPES, Recipe
from inference.pocket.training.run import TrainingRun, show
from inference.pocket.training.train import STATE, train


def export(folder: Path, state: Path, recipe: Recipe) -> None:
    """In fp16, which halves the folder; they are opened in whatever the device likes.

    Raises FileExistsError where something is in the folder's place.
    """
    write(folder, lambda: to_fp16(train(TrainingRun(state, show, trains=False), recipe)), recipe.shape.card)


def to_fp16(model: PocketModel) -> PocketModel:
    for module in (model.text_encoder, model.image_encoder, model.vae, model.transformer):
        module.half()
    return model


def main(arguments: list[str]) -> None:
    if not 1 <= len(arguments) <= 3:
        raise SystemExit("usage: python -m inference.pocket.training.export FOLDER [STATE [RECIPE]]")
    folder, state, recipe = [*arguments, *("", str(STATE), "cpu")[len(arguments) :]]
    if not Path(state).is_dir():
        raise SystemExit(f"no training has left its state in {state}")
    export(Path(folder), Path(state), RECIPES[recipe])
    megabytes = sum(file.stat().st_size for file in Path(folder).rglob("*.safetensors")) / 1e6
    print(f"{megabytes:.1f} MB of weights in {folder}")  # noqa: T201 - its one line


if __name__ == "__main__":
    main(sys.argv[1:])
