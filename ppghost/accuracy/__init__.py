"""The accuracy of a shipped network over a list of pictures, counted while the answers come.

    counting    top-1 to top-5 in all and for each class, confusions, agreement of two runs
    journal     the file of all answers, from which an interrupted run goes on

Ranks are counted by `ppghost.offline.scoring`, as for the result files of a device. Ground: never paddle.
"""
