"""One rank of a cluster, for `torchrun … -m inference`. Reads its settings before it loads the libraries."""

from contracts.process import env, garbage, start
from inference import early
from inference.settings import Settings

if __name__ == "__main__":
    with start.refusing("inference"):
        early.check(env.read(Settings))
        with garbage.frozen():
            from inference import launch
        launch.main()
