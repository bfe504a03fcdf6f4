"""Registries of the scope 'tresnet_det', each a child of MMDetection's.

MMEngine marks what a config reuses of a base, `_base_.train_pipeline` say,
with the scope of the package that the base came from, imports this module and
searches there. Nothing is registered here: all is found in the parents.
"""

from mmdet import registry as _mmdet
from mmengine.registry import Registry

__all__ = ['REGISTRIES']

# Name, 'TRANSFORMS' say -> registry.
REGISTRIES = {
    name: Registry(
        parent.name, parent=parent, scope='tresnet_det', locations=['tresnet_det']
    )
    for name, parent in vars(_mmdet).items()
    if isinstance(parent, Registry) and parent.scope == 'mmdet'
}
