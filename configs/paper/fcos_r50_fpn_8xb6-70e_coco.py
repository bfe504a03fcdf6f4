# The paper's comparison, the ResNet-50 arm: 42.8 AP on val2017 reported in
# arXiv:2003.13630v3. Total batch 48, lr 0.01; for another total batch add
# --auto-scale-lr. COCO result: not run.
_base_ = '_base_/fcos_fpn_8xb6-70e_coco.py'
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        norm_cfg=dict(requires_grad=True),
        style='pytorch',
        init_cfg=dict(checkpoint='torchvision://resnet50')))
