# TResNet-V2-L; used as tresnet-m.py.
_base_ = 'tresnet-m.py'
tresnet = dict(
    backbone=dict(
        arch='v2_l',
        init_cfg=dict(checkpoint='timm://tresnet_v2_l.miil_in21k_ft_in1k')),
    neck=dict(in_channels=[256, 512, 1024, 2048]))
