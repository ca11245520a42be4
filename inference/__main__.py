"""A cluster: `torchrun --nproc-per-node=N -m inference`."""

import gc

gc.disable()  # the libraries make a million objects that stay: walking them takes a second of each start

from inference import rank  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    rank.main()
