# The paper's comparison, the TResNet-M arm: 44.0 AP on val2017 reported in
# arXiv:2003.13630v3. Total batch 48, lr 0.01; for another total batch add
# --auto-scale-lr. COCO result: not run.
_base_ = '_base_/fcos_fpn_8xb6-70e_coco.py'
model = _base_.tresnet
# ImageNet-1k alone, as ResNet-50 has it.
model.backbone.init_cfg.checkpoint = 'timm://tresnet_m.miil_in1k'
