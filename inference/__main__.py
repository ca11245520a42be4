"""A cluster: `torchrun --nproc-per-node=N -m inference`. Reads its settings before it loads the libraries."""

import gc

from contracts.process import env, start
from inference import early
from inference.settings import Settings

if __name__ == "__main__":
    with start.refusing("inference"):
        early.check(env.read(Settings))

gc.disable()  # the libraries make a million objects that stay: walking them takes a second of each start

from inference import launch  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    with start.refusing("inference"):
        launch.main()
