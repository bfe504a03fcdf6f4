"""Makes .venv in the repository's root, if it is not there and up to date.

python3.11 tools/setup        (what `make setup` does)
"""

import os
import sys
from pathlib import Path

from environment import set_up
from steps import SetupError

if __name__ == '__main__':
    try:
        set_up(Path(__file__).resolve().parents[2], os.environ)
    except SetupError as error:
        sys.exit(f'setup: {error}')
    except KeyboardInterrupt:
        sys.exit('setup: interrupted; the next call makes .venv anew')
