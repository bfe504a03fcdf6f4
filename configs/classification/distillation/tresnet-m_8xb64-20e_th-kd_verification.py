# The same through the head of a TResNet-V2-L, trained by
# tresnet-v2_l_8xb64-20e_verification.py.
#   TEACHER=CHECKPOINT FACES=DATA IDENTITIES=1000 python tools/train.py \
#       configs/classification/distillation/tresnet-m_8xb64-20e_th-kd_verification.py
# Not run on real data.
_base_ = 'tresnet-m_8xb64-20e_verification.py'
teacher = dict(
    config='tresnet_det::classification/distillation/'
    'tresnet-v2_l_8xb64-20e_verification.py',
    checkpoint='{{$TEACHER:epoch_20.pth}}')
model = dict(type='HeadSharingClassifier', teacher=teacher)
custom_hooks = [dict(type='DistillationHook')]
