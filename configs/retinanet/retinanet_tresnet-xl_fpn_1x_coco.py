# RetinaNet, TResNet-XL, FPN, 12 epochs.
# Total batch 16 = 8 GPUs x 2 images, lr 0.01; for another total batch add
# --auto-scale-lr.
# COCO result: not run.
_base_ = [
    'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    '../_base_/tresnet-xl.py'
]
model = _base_.tresnet
