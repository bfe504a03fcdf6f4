# 1 of 4: FCOS, TResNet-M, without pre-trained weights. Nothing may be frozen,
# and the norms must learn their statistics.
_base_ = '../../fcos/fcos_tresnet-m_fpn_1x_coco.py'
model = dict(backbone=dict(frozen_stages=-1, norm_eval=False, init_cfg=None))
