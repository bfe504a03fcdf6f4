# RetinaNet, TResNet-L, FPN, 36 epochs, height 640 to 800.
# Total batch 16 = 8 GPUs x 2 images, lr 0.01; for another total batch add
# --auto-scale-lr.
# COCO result: not run.
_base_ = [
    'mmdet::retinanet/retinanet_r50_fpn_ms-640-800-3x_coco.py',
    '../_base_/tresnet-l.py'
]
model = _base_.tresnet
