# TResNet-M in place of ResNet-50. Every detector with FPN takes it so:
#     _base_ = ['mmdet::<family>/<config>.py', '../_base_/tresnet-m.py']
#     model = _base_.tresnet
_base_ = 'tresnet.py'
tresnet = dict(
    data_preprocessor=_base_.rgb_in_0_1,
    backbone=dict(
        _delete_=True,
        type='TResNet',
        arch='m',
        frozen_stages=1,
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='timm://tresnet_m.miil_in21k_ft_in1k')),
    neck=dict(in_channels=[64, 128, 1024, 2048]))
