# The teacher: its embedding has the 2048 channels of TResNet-M's.
#   python tools/train.py \
#       configs/classification/distillation/tresnet-v2_l_8xb16-40e_cifar100.py
# Not run on the real data.
_base_ = '../tresnet-m_8xb16-40e_cifar100.py'
model = dict(
    backbone=dict(
        arch='v2_l',
        init_cfg=dict(
            checkpoint='timm://tresnet_v2_l.miil_in21k_ft_in1k')))
