"""The engines themselves, one file each, and the program that runs one in a process of its own.

`run_<name>.py` has one function, `load(job)`. The job gives

    files        paths of the model's files
    threads      how many threads the engine may use
    input_shape  channels, height, width of a row
    batch        how many rows a run has, as a rule

and `load` returns a `Loaded`. A file imports the standard library, NumPy and its engine, nothing of ppghost:
it also runs where there is none.
"""
