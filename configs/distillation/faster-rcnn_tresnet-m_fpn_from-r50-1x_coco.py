# Faster R-CNN, TResNet-M, through RPN and box head of MMDetection's ResNet-50,
# 12 epochs. That detector has 37.4 AP in its model zoo.
# Total batch 16 = 8 GPUs x 2 images, lr 0.02; for another total batch add
# --auto-scale-lr.
# COCO result: not run.
_base_ = '../faster_rcnn/faster-rcnn_tresnet-m_fpn_1x_coco.py'
model = dict(
    type='HeadSharing',
    detector='FasterRCNN',
    share_from=1,
    teacher=dict(
        config='mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/'
        'faster_rcnn_r50_fpn_1x_coco/'
        'faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth'))
