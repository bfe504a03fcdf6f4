# The other arm of the comparison on BCCD: it differs in the backbone only.
# RGB in [0, 1] for both: the batch norm after ResNet's first conv makes up
# for any other mean and deviation.
_base_ = 'fcos_tresnet-m_fpn_256x192_bccd.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        frozen_stages=-1,  # random weights, as in the other arm
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False),
    neck=dict(in_channels=[256, 512, 1024, 2048]))
