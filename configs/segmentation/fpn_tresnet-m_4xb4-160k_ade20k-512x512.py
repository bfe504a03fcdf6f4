# Semantic FPN, TResNet-M, ADE20K, 160,000 iterations.
# Total batch 16 = 4 GPUs x 4 images, lr 0.01. Result: not run.
_base_ = [
    'mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py',
    './_base_/tresnet-m.py'
]
model = dict(**_base_.tresnet, neck=dict(in_channels=[64, 128, 1024, 2048]))
