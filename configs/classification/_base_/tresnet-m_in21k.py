# TResNet-M after ImageNet-21k and ImageNet-1k, to be fine-tuned.
_base_ = './tresnet-m.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='timm://tresnet_m.miil_in21k_ft_in1k')))
