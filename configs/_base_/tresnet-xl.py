# TResNet-XL; used as tresnet-m.py.
_base_ = 'tresnet-m.py'
tresnet = dict(
    backbone=dict(
        arch='xl', init_cfg=dict(checkpoint='timm://tresnet_xl.miil_in1k')),
    neck=dict(in_channels=[83, 166, 1328, 2656]))
