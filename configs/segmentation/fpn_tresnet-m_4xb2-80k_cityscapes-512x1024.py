# Semantic FPN, TResNet-M, Cityscapes, 80,000 iterations.
# Total batch 8 = 4 GPUs x 2 images, lr 0.01. Result: not run.
_base_ = [
    'mmseg::sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py',
    './_base_/tresnet-m.py'
]
model = dict(**_base_.tresnet, neck=dict(in_channels=[64, 128, 1024, 2048]))
