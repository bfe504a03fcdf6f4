# TH-KD (arXiv:2201.06945): gamma 1, alpha 1.5, beta 0.02, T 4.
#   TEACHER=CHECKPOINT python tools/train.py \
#       configs/classification/distillation/tresnet-m_8xb16-40e_th-kd_cifar100.py
# Not run on the real data.
_base_ = '../tresnet-m_8xb16-40e_cifar100.py'
custom_hooks = [dict(type='DistillationHook')]
model = dict(
    type='HeadSharingClassifier',
    teacher=dict(
        config='tresnet_det::classification/distillation/'
        'tresnet-v2_l_8xb16-40e_cifar100.py',
        checkpoint='{{$TEACHER:epoch_40.pth}}'))
