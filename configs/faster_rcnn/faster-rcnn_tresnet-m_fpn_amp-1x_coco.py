# The 1x config in mixed precision, what --amp does on the command line. Norms
# and their statistics stay float32. COCO result: not run.
_base_ = 'faster-rcnn_tresnet-m_fpn_1x_coco.py'
optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')
