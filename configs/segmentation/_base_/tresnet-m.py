# TResNet-M in place of ResNet-50, for MMSegmentation:
#     _base_ = ['mmseg::<family>/<config>.py', './_base_/tresnet-m.py']
#     model = dict(**_base_.tresnet, ...)
# Norms are trained and synchronised, as in MMSegmentation's own configs.
custom_imports = dict(imports=['tresnet_det'], allow_failed_imports=False)
tresnet = dict(
    pretrained=None,  # which would be ResNet-50's
    data_preprocessor=dict(mean=[0, 0, 0], std=[255, 255, 255]),
    backbone=dict(
        _delete_=True,
        type='TResNet',
        arch='m',
        norm_cfg=dict(type='SyncInPlaceABN'),
        norm_eval=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='timm://tresnet_m.miil_in21k_ft_in1k')))
