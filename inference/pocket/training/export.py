"""Writes the trained model as a checkpoint: `python -m inference.pocket.training.export FOLDER [STATE [RECIPE]]`.

Trains nothing; works at any time of the training. RECIPE is the training's recipe, cpu or gpu.
"""

import sys
from pathlib import Path

from inference.pocket.build import PocketModel, write
from inference.pocket.training.recipe import RECIPES, Recipe
from inference.pocket.training.run import TrainingRun, show
from inference.pocket.training.train import STATE, train


def export(folder: Path, state: Path, recipe: Recipe) -> None:
    """Write the EMA weights in the state folder as a checkpoint in fp16; loading casts them to the device's dtype.

    Stages that have not begun have their initial weights. Raises FileExistsError if `folder` exists, and ValueError if
    the state is of other data than the recipe's.
    """
    write(folder, lambda: to_fp16(train(TrainingRun(state, show, trains=False), recipe)), recipe.shape.card)


def to_fp16(model: PocketModel) -> PocketModel:
    """Cast all weights to fp16 in place, and return the model."""
    for module in (model.text_encoder, model.image_encoder, model.vae, model.transformer):
        module.half()
    return model


def main(arguments: list[str]) -> None:
    """Export as the arguments say, and print the size.

    Ends the process with the usage or a sentence if they cannot be met.
    """
    if not 1 <= len(arguments) <= 3:
        raise SystemExit("usage: python -m inference.pocket.training.export FOLDER [STATE [RECIPE]]")
    folder, state, recipe = [*arguments, *("", str(STATE), "cpu")[len(arguments) :]]
    if not Path(state).is_dir():
        raise SystemExit(f"no training has left its state in {state}")
    export(Path(folder), Path(state), RECIPES[recipe])
    megabytes = sum(file.stat().st_size for file in Path(folder).rglob("*.safetensors")) / 1e6
    print(f"{megabytes:.1f} MB of weights in {folder}")  # noqa: T201 - the command's output


if __name__ == "__main__":
    main(sys.argv[1:])
