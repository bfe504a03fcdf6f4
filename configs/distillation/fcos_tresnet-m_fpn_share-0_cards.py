# On playing cards (large objects): the whole head of ResNet-50.
_base_ = '../cards/fcos_tresnet-m_fpn_cards.py'
model = dict(
    type='HeadSharing', detector='FCOS', share_from=0,
    teacher=dict(
        config='tresnet_det::distillation/fcos_r50_fpn_cards.py',
        checkpoint='{{$TEACHER:epoch_10.pth}}'))
