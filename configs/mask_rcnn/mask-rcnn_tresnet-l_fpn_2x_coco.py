# Mask R-CNN, TResNet-L, FPN, 24 epochs.
# Total batch 16 = 8 GPUs x 2 images, lr 0.02; for another total batch add
# --auto-scale-lr.
# COCO result: not run.
_base_ = [
    'mmdet::mask_rcnn/mask-rcnn_r50_fpn_2x_coco.py',
    '../_base_/tresnet-l.py'
]
model = _base_.tresnet
