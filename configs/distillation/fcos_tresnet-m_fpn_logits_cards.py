# On playing cards: plain distillation, to compare.
_base_ = 'fcos_tresnet-m_fpn_share-0_cards.py'
model = dict(shared=dict(cls=0, box=0), own=dict(cls=0.4, box=0.75))
