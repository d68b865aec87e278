"""Run folders: what they hold, and how they are written, read, checked and resumed.

A training leaves one run folder; a comparison leaves a folder of them:

=======================  ===========================================================================
``config.json``          ``config`` (the configuration), ``data`` and ``environment``
``metrics.csv``          a row for each epoch
``checkpoints/``         ``last.ckpt`` to resume from, ``best.ckpt`` of the highest validation
                         accuracy; Lightning wrote both: read them with ``weights_only=True``
``features/``            with weights: the features of the training and validation images
``probe.safetensors``    with weights: the network as it was, with a classifier fitted to them
``tensorboard/``         the same figures as the table, for TensorBoard
``model.safetensors``    the final weights, averaged if ``ema`` is on
``predictions.npz``      ``labels`` ``[n]`` and ``logits`` ``[n, K]`` of the test images
``predictions-val.npz``  the same of the validation images, where there are any
``result.json``          written last: a run that has it is finished
``report.html``          the page that ``senet report`` writes
``comparison.json``      in a comparison: its networks, its seeds and the folder of each run
``cost.json``            in a comparison: parameters, multiply-adds and times of all networks
=======================  ===========================================================================

Every file is written beside its place and then renamed (:mod:`senet.files`), so none is ever
incomplete.

A configuration is a plain mapping here: :mod:`senet.training` defines its fields and their ranges,
and a report also opens runs of versions that had others.

:mod:`senet.data` does not import this package. It only knows how to tell a run folder from a folder
of images (:func:`senet.data.walk.is_run`).
"""
