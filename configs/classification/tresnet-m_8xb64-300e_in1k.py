# TResNet-M on ImageNet-1k, 224 px. Put ImageNet under data/imagenet in the
# layout of MMPretrain (train/<class>/*.JPEG, val/<class>/*.JPEG).
#
#   python tools/train.py configs/classification/tresnet-m_8xb64-300e_in1k.py
#
# trains; published weights are evaluated after one conversion:
#
#   python tools/model_converters/convert_checkpoint.py \
#       timm://tresnet_m.miil_in21k_ft_in1k tresnet_m.pth --to mm
#   python tools/test.py configs/classification/tresnet-m_8xb64-300e_in1k.py \
#       tresnet_m.pth
#
# From the paper (arXiv:2003.13630, section 4), as remembered: 300 epochs, SGD
# with the 1-cycle policy, AutoAugment, Cutout, label smoothing, weight decay.
# Our choice, since it leaves them open: learning rate, weight decay 1e-4
# (coupled, the paper's is not), batch 8 x 64, the size of the cut-out. Not run
# on the real data.
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs64.py',
    'mmpretrain::_base_/default_runtime.py', './_base_/one-cycle.py',
    './_base_/tresnet-m.py'
]
data_preprocessor = _base_.rgb_in_0_1
train_dataloader = dict(
    dataset=dict(pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=224),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(type='AutoAugment', policies='imagenet'),
        dict(type='Cutout', shape=112, pad_val=128, prob=0.5),
        dict(type='PackInputs'),
    ]))
max_epochs = 300
optim_wrapper = dict(
    optimizer=dict(lr=0.4, nesterov=True),  # 512 images a step
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0))
param_scheduler = dict(eta_max=0.4, total_steps=max_epochs)
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=512)
