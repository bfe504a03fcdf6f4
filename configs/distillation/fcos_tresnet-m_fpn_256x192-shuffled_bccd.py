# A control: the teacher's head with its weights shuffled. What the teacher
# itself finds is as in the other arms.
_base_ = 'fcos_tresnet-m_fpn_256x192-share-0_bccd.py'
model = dict(teacher=dict(shuffle_head=True))
