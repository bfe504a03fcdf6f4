# RetinaNet, TResNet-M, through the head of TResNet-L, 12 epochs.
#     TEACHER=work_dirs/retinanet_tresnet-l_fpn_1x_coco/epoch_12.pth
# Total batch 16 = 8 GPUs x 2 images, lr 0.01; for another total batch add
# --auto-scale-lr.
# COCO result: not run.
_base_ = 'retinanet_tresnet-m_fpn_from-r50-1x_coco.py'
model = dict(
    teacher=dict(
        config='tresnet_det::retinanet/retinanet_tresnet-l_fpn_1x_coco.py',
        checkpoint='{{$TEACHER:epoch_12.pth}}'))
