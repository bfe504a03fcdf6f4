# 2 of 4: a neck and a head for images of 160 to 320 pixels. Three levels (P6
# would be 3x3), each for boxes a quarter as large as on COCO.
_base_ = 'from-random-weights.py'
model = dict(
    neck=dict(out_channels=128, num_outs=3),
    bbox_head=dict(
        in_channels=128,
        feat_channels=128,
        stacked_convs=2,
        strides=[8, 16, 32],
        regress_ranges=((-1, 32), (32, 64), (64, 1e8)),
    ),
)
