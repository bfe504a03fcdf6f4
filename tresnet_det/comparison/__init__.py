"""Trains, evaluates and compares detectors that differ in a part.

``plan`` says what runs there are, ``training`` brings each to its end,
``evaluation`` reads what it found, ``cost`` measures the detectors, ``plots``
draws and ``report`` writes it all down.
"""
