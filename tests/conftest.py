"""Each of the test processes computes with one thread."""
import os

import torch

# Inherited by the commands that tests start.  Waiting threads must not spin:
# the processes share the cores.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
torch.set_num_threads(1)
