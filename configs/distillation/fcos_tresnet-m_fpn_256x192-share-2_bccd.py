# The same with the teacher's predictors alone, after the student's own convs,
# as in the paper.
_base_ = 'fcos_tresnet-m_fpn_256x192-share-0_bccd.py'
model = dict(share_from=2)
