# TResNet-L; used as tresnet-m.py.
_base_ = 'tresnet-m.py'
tresnet = dict(
    backbone=dict(
        arch='l', init_cfg=dict(checkpoint='timm://tresnet_l.miil_in1k')),
    neck=dict(in_channels=[76, 152, 1216, 2432]))
