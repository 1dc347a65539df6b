"""What runs inside the measured processes, in environments that have no ppghost.

`serve` is the program; it loads one of the other files by its path, lets it prepare what a job asks for, and
then answers orders. So nothing of ours is imported there, and a file imports the standard library, NumPy and
what it measures.

Door: programs of their own; nothing of the package imports them.
"""
