"""Import this first: the package's parts then need no torch and no mm*.

tresnet_det itself imports the whole stack; what runs an exported file needs
numpy, OpenCV and onnxruntime alone, and starts within a second.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

# The source tree, or the folder that a wheel was installed into.
_root = next(
    folder
    for folder in Path(__file__).resolve().parents
    if (folder / 'tresnet_det' / 'deployment').is_dir()
)
if 'tresnet_det' not in sys.modules:
    _spec = ModuleSpec('tresnet_det', None, is_package=True)
    _spec.submodule_search_locations = [str(_root / 'tresnet_det')]
    sys.modules['tresnet_det'] = module_from_spec(_spec)
