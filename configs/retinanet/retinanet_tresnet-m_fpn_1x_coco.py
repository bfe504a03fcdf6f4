# RetinaNet, TResNet-M, FPN, 12 epochs on COCO. Total batch 16 = 8 GPUs x
# 2 images, lr 0.01; for another total batch add --auto-scale-lr.
#     python tools/train.py \
#         configs/retinanet/retinanet_tresnet-m_fpn_1x_coco.py
# COCO result: not run.
_base_ = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
          '../_base_/tresnet.py']
model = dict(
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
