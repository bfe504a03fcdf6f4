"""Each of the test processes computes with one thread, on the CPU."""

import os

# Before torch: tests fork, which CUDA does not survive, compare figures of
# one device, and try what is refused without a GPU.
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402
from yapf.yapflib import yapf_api  # noqa: E402

# Three times a run the config's text is formatted for the reader of its log, which
# takes longer than most of the runs here. Before mmengine imports it.
yapf_api.FormatCode = lambda text, **style: (text, True)

from mmengine.runner import runner as mmengine_runner  # noqa: E402
from mmengine.visualization import Visualizer  # noqa: E402

# Inherited by the commands that tests start.  Waiting threads must not spin:
# the processes share the cores.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
torch.set_num_threads(1)

# Likewise, a run asks for the versions of all compilers.
mmengine_runner.collect_env = dict

# The same few cases in every run; HYPOTHESIS_PROFILE=long draws new ones.
settings.register_profile(
    'short',
    derandomize=True,
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    'long', settings.get_profile('short'), derandomize=False, max_examples=2000
)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'short'))


@pytest.fixture(autouse=True)
def own_visualizer():
    """mmengine keeps visualizers by name: the next test's run would write
    into the folder of this one's, which may be gone."""
    yield
    kinds = [Visualizer]
    for visualizer in kinds:
        kinds += visualizer.__subclasses__()
        visualizer._instance_dict.clear()


@pytest.fixture(autouse=True)
def own_folder():
    """A test that goes into a folder of its own does not leave the next one in it."""
    before = os.getcwd()
    yield
    os.chdir(before)
