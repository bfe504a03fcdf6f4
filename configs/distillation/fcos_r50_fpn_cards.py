# The teacher on playing cards; all but the backbone is TResNet-M's.
_base_ = '../cards/fcos_tresnet-m_fpn_cards.py'
model = dict(
    backbone=dict(
        _delete_=True, type='ResNet', depth=50, norm_eval=False,
        frozen_stages=-1, norm_cfg=dict(type='BN', requires_grad=True)),
    neck=dict(in_channels=[256, 512, 1024, 2048]))
