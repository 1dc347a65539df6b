"""Offline pipelines: pictures become files, a device turns them into files, and those are scored.

    names       which picture a file belongs to
    preparing   pictures to input files, in parallel, with a record of how they were made
    outputs     the scores of one picture as npy, bin or txt
    truth       what the pictures show: `name label` lines
    scoring     top-1 to top-5, exact
    stand_in    ONNX Runtime in place of a device

What is special to one device is in its folder of `deploy/`. Ground: never paddle.
"""
