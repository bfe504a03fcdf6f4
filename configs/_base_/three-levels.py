# The levels of a small head (small/small-head.py) without that of stride 4: where
# few objects are smaller than 32 pixels, for a step that takes a quarter less time
# (configs/bccd/README.md). Use:
#     _base_ = ['<config>.py', '../_base_/three-levels.py']
#     model = _base_.three_levels
three_levels = dict(
    neck=dict(start_level=1, num_outs=3),
    bbox_head=dict(
        strides=[8, 16, 32],
        regress_ranges=((-1, 32), (32, 64), (64, 1e8))))
