"""The whole series as one file that opens without a connection: for reading, sending on and printing.

commands.py      the ``report`` command
building.py      the sections, each made by itself: one that fails leaves a sentence in its place
document.py      the sections as one HTML file
"""
