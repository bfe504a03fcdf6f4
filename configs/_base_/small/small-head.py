# 2 of 4: a neck and a head for images of 160 to 320 pixels. Four levels, from C2
# (P6 would be 3x3), each for boxes a quarter as large as on COCO. Without the
# first, small objects are lost: platelets 16 px wide have 20 in place of 42 AP, see
# configs/bccd/README.md.
_base_ = 'from-random-weights.py'
model = dict(
    neck=dict(out_channels=128, start_level=0, num_outs=4),
    bbox_head=dict(
        in_channels=128,
        feat_channels=128,
        stacked_convs=2,
        strides=[4, 8, 16, 32],
        regress_ranges=((-1, 16), (16, 32), (32, 64), (64, 1e8)),
    ),
)
