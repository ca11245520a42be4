"""One rank under torchrun: `latents_of_a_rank.py CHECKPOINT FOLDER` leaves its results in FOLDER."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from inference import device
from inference.wan.generate import generate
from inference.wan.load import load
from inference.wan.mesh import ulysses_degree
from inference.wan.parallelize import parallelize
from tests.inference.conftest import go_on, image, job, latents


def main(checkpoint: Path, folder: Path) -> None:
    device.die_with_parent()
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    with device.join_group(cpu):
        wan = load(checkpoint, cpu)
        parallelize(wan, ulysses_degree(dist.get_world_size(), wan.heads))
        tokens: list[int] = []
        wan.transformer.blocks[0].register_forward_hook(lambda _module, _args, out: tokens.append(out.shape[1]))
        results = {
            "even": latents(wan, job(), image(64, 48)),
            "odd": latents(wan, job(), image(48, 48)),
            "even_again": latents(wan, job(), image(64, 48)),
            "unguided_odd": latents(wan, job(guidance_scale=1.0), image(48, 48)),
            "video_odd": generate(wan, job(), image(48, 48), go_on),
        }
        results["tokens"] = torch.tensor(sorted(set(tokens)))
        save_file({name: tensor.contiguous() for name, tensor in results.items()}, folder / f"{dist.get_rank()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
