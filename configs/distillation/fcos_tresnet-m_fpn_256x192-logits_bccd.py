# Plain distillation, to compare: the same losses between the student's own
# head and the teacher's outputs.
_base_ = 'fcos_tresnet-m_fpn_256x192-share-0_bccd.py'
model = dict(shared=dict(cls=0, box=0), own=dict(cls=0.4, box=0.75))
