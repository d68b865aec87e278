"""The folder of a run: what is in it, and how it is written, read, checked and gone on with.

A training leaves one, a comparison a folder of such:

=======================  ===========================================================================
``config.json``          ``config`` (the configuration), ``data`` and ``environment``
``metrics.csv``          a row for each epoch
``checkpoints/``         ``last.ckpt`` to resume from, ``best.ckpt`` of the highest validation
                         accuracy; both of Lightning, to be read with ``weights_only=True``
``tensorboard/``         the same figures as the table, for TensorBoard
``model.safetensors``    the final weights, averaged ones where ``ema`` is on
``predictions.npz``      ``labels`` ``[n]`` and ``logits`` ``[n, K]`` of the test images
``result.json``          written last: a run that has it is finished
``report.html``          what ``senet report`` has made of it
``comparison.json``      in a comparison: which networks and seeds, and the folder of each run
``cost.json``            in a comparison: parameters, multiply-adds and times of all networks
=======================  ===========================================================================

Every file is written aside and then renamed (:mod:`senet.files`), so that none is ever half there.

A configuration is a plain mapping here: its fields and their ranges are the training's, and a
report opens runs of versions that had others.

The data stand below the runs and only know how a folder of a run is told from one of images
(:func:`senet.data.walk.is_run`).
"""
