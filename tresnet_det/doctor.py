"""Says on one screen what this environment is and what is broken in it.

    python -m tresnet_det.doctor

Works where the package itself cannot be imported. The exit status is 1 if
there is a problem, else 0.
"""

import sys

import tresnet_det

from .environment.doctor import main

if __name__ == '__main__':
    sys.exit(main(tresnet_det.import_error))
