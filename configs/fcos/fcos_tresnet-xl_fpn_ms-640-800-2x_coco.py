# FCOS, TResNet-XL, FPN, 24 epochs, height 640 or 800. Total batch 16 =
# 8 GPUs x 2 images, lr 0.01; for another total batch add --auto-scale-lr.
# COCO result: not run.
_base_ = [
    'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_ms-640-800-2x_coco.py',
    '../_base_/fcos-enhanced.py', '../_base_/tresnet-xl.py'
]
model = dict(**_base_.tresnet, **_base_.fcos_enhanced)
