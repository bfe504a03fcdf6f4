# TResNet-M fine-tuned on CIFAR-10, enlarged to 224 px as the network is made
# for strides of 32. MMPretrain downloads CIFAR-10 to data/cifar10.
#
#   python tools/train.py configs/classification/tresnet-m_8xb16-40e_cifar10.py
#
# Reported for TResNet-XL at 224 px: CIFAR-10 99.0, CIFAR-100 91.5 (README of
# the official repository). The recipe was not at hand, so the schedule is our
# choice. Not run on the real data.
_base_ = [
    'mmpretrain::_base_/datasets/cifar10_bs16.py',
    'mmpretrain::_base_/default_runtime.py', './_base_/one-cycle.py',
    './_base_/tresnet-m_in21k.py'
]
data_preprocessor = _base_.rgb_in_0_1
model = dict(head=dict(num_classes=10))
train_dataloader = dict(
    dataset=dict(pipeline=[
        dict(type='RandomCrop', crop_size=32, padding=4),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(type='Resize', scale=224),
        dict(type='PackInputs'),
    ]))
val_dataloader = dict(
    dataset=dict(
        pipeline=[dict(type='Resize', scale=224),
                  dict(type='PackInputs')]))
test_dataloader = val_dataloader
