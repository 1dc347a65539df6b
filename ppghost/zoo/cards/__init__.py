"""The cards, one file per family. A new family adds its file and one line here.

Ground: no paddle.
"""

from ppghost.zoo.cards import ghostnet as ghostnet
