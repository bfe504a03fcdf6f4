# FCOS for small images, from random weights.
_base_ = '../../fcos/fcos_tresnet-m_fpn_1x_coco.py'

# Random weights: nothing may be frozen, and the norms must learn their
# statistics. Small images: three levels (P6 would be 3x3), each for boxes a
# quarter as large as on COCO.
model = dict(
    backbone=dict(frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(out_channels=128, num_outs=3),
    bbox_head=dict(
        in_channels=128,
        feat_channels=128,
        stacked_convs=2,
        strides=[8, 16, 32],
        regress_ranges=((-1, 32), (32, 64), (64, 1e8))))
