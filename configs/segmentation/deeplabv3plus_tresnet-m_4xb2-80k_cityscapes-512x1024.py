# DeepLabV3+, TResNet-M, Cityscapes, 80,000 iterations.
# Total batch 8 = 4 GPUs x 2 images, lr 0.01. Result: not run.
#
# The base config runs the last two stages of ResNet-50 at stride 8, dilated.
# TResNet has strides 16 and 32 there and no dilation, so the rates of the
# pyramid are a quarter of the base's 12, 24 and 36: the same in image pixels.
_base_ = [
    'mmseg::deeplabv3plus/'
    'deeplabv3plus_r50-d8_4xb2-80k_cityscapes-512x1024.py',
    './_base_/tresnet-m.py'
]
model = dict(
    **_base_.tresnet,
    decode_head=dict(c1_in_channels=64, dilations=(1, 3, 6, 9)))
