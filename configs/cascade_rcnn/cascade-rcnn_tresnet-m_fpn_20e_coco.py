# Cascade R-CNN, TResNet-M, FPN, 20 epochs.
# Total batch 16 = 8 GPUs x 2 images, lr 0.02; for another total batch add
# --auto-scale-lr.
# COCO result: not run.
_base_ = [
    'mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_20e_coco.py',
    '../_base_/tresnet-m.py'
]
model = _base_.tresnet
