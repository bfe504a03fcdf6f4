# FCOS, TResNet-L, FPN, 12 epochs.
# Total batch 16 = 8 GPUs x 2 images, lr 0.01; for another total batch add
# --auto-scale-lr.
# COCO result: not run.
_base_ = [
    'mmdet::fcos/'
    'fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py',
    '../_base_/tresnet-l.py'
]
model = _base_.tresnet
